import type { CapabilityOf } from 'vfio';
import { flag, flagLine, maybe, type RegisterFragments } from './compare';

type Express = CapabilityOf<'pcie'>;

export const l0s = ['<64ns', '<128ns', '<256ns', '<512ns', '<1us', '<2us', '<4us', 'unlimited'];
export const l1 = ['<1us', '<2us', '<4us', '<8us', '<16us', '<32us', '<64us', 'unlimited'];
const speed = (value: number | null) => (value === null ? 'unknown' : `${value}GT/s`);

const aspm = ({ l0s, l1 }: { l0s: boolean; l1: boolean }) =>
  [l0s && 'L0s', l1 && 'L1'].filter(Boolean).join(' ');

export function link({
  capabilities,
  control,
  status,
}: NonNullable<Express['link']>): RegisterFragments[] {
  const exit = [
    capabilities.aspm.l0s && `L0s ${l0s[capabilities.l0sExitLatency]}`,
    capabilities.aspm.l1 && `L1 ${l1[capabilities.l1ExitLatency]}`,
  ].filter(Boolean);
  return [
    {
      register: 'LnkCap',
      fragments: [
        `Port #${capabilities.port}, Speed ${speed(capabilities.maxSpeed)}, Width x${capabilities.maxWidth}, ASPM ${aspm(capabilities.aspm) || 'not supported'}`,
        ...(exit.length > 0 ? [`Exit Latency ${exit.join(', ')} `] : []),
        flagLine(
          {
            clockPowerManagement: 'ClockPM',
            surpriseDownErrors: 'Surprise',
            linkActiveReporting: 'LLActRep',
            bandwidthNotification: 'BwNot',
            aspmOptionality: 'ASPMOptComp',
          },
          capabilities,
        ),
      ],
    },
    {
      register: 'LnkCtl',
      fragments: [
        `ASPM ${aspm(control.aspm) ? `${aspm(control.aspm)} Enabled` : 'Disabled'};`,
        maybe('RCB', `RCB ${control.readCompletionBoundary} bytes,`),
        flagLine({ disabled: 'Disabled', commonClock: 'CommClk' }, control),
        flagLine(
          {
            extendedSynch: 'ExtSynch',
            clockPowerManagement: 'ClockPM',
            autonomousWidthDisable: 'AutWidDis',
            bandwidthManagementInterrupt: 'BWInt',
            autonomousBandwidthInterrupt: 'AutBWInt',
          },
          control,
        ),
      ],
    },
    {
      register: 'LnkSta',
      fragments: [
        `Speed ${speed(status.speed)}`,
        `Width x${status.width}`,
        flagLine(
          {
            trainingError: 'TrErr',
            training: 'Train',
            slotClock: 'SlotClk',
            active: 'DLActive',
            bandwidthManagement: 'BWMgmt',
            autonomousBandwidth: 'ABWMgmt',
          },
          status,
        ),
      ],
    },
  ];
}

export function link2({
  capabilities,
  control,
  status,
}: NonNullable<Express['link2']>): RegisterFragments[] {
  return [
    {
      register: 'LnkCap2',
      optional: true,
      fragments: [
        flag('Crosslink', capabilities.crosslink),
        flagLine({ retimer: 'Retimer', twoRetimers: '2Retimers', drs: 'DRS' }, capabilities),
      ],
    },
    {
      register: 'LnkCtl2',
      optional: true,
      fragments: [
        `Target Link Speed: ${control.targetSpeed === null ? 'Unknown' : speed(control.targetSpeed)},`,
        flagLine(
          { enterCompliance: 'EnterCompliance', autonomousSpeedDisable: 'SpeedDis' },
          control,
        ),
        maybe(
          'Selectable De-emphasis',
          `Selectable De-emphasis: ${control.selectableDeemphasis}dB`,
        ),
        flagLine(
          { enterModifiedCompliance: 'EnterModifiedCompliance', complianceSos: 'ComplianceSOS' },
          control,
        ),
      ],
    },
    {
      register: 'LnkSta2',
      fragments: [
        `Current De-emphasis Level: ${status.deemphasis}dB,`,
        flagLine(
          {
            equalizationComplete: 'EqualizationComplete',
            equalizationPhase1: 'EqualizationPhase1',
          },
          status,
        ),
        flagLine(
          {
            equalizationPhase2: 'EqualizationPhase2',
            equalizationPhase3: 'EqualizationPhase3',
            equalizationRequest: 'LinkEqualizationRequest',
          },
          status,
        ),
        flagLine({ retimer: 'Retimer', twoRetimers: '2Retimers' }, status),
      ],
    },
  ];
}
