import type { Capability, CapabilityOf, ExtendedCapability } from 'vfio';
import { type Fragment, flag, flagLine, hexDigits, maybe, type RegisterFragments } from './compare';
import { l0s, l1, link, link2 } from './express-link';

type Express = CapabilityOf<'pcie'>;

const types: Record<string, string> = {
  endpoint: 'Endpoint',
  'legacy-endpoint': 'Legacy Endpoint',
  'root-port': 'Root Port',
  'upstream-port': 'Upstream Port',
  'downstream-port': 'Downstream Port',
  'pcie-to-pci-bridge': 'PCI-Express to PCI/PCI-X Bridge',
  'pci-to-pcie-bridge': 'PCI/PCI-X to PCI-Express Bridge',
  'rc-integrated-endpoint': 'Root Complex Integrated Endpoint',
  'rc-event-collector': 'Root Complex Event Collector',
  reserved: 'Unknown type',
};

const watts = (limit: number | null) =>
  limit === null ? '>600W' : `${Number(limit.toPrecision(6))}W`;

function device({ device: { capabilities, control, status } }: Express): RegisterFragments[] {
  return [
    {
      register: 'DevCap',
      fragments: [
        `MaxPayload ${capabilities.maxPayload} bytes, PhantFunc ${2 ** capabilities.phantomFunctionBits - 1}`,
        maybe(
          'Latency L0s',
          `Latency L0s ${l0s[capabilities.l0sAcceptableLatency]}, L1 ${l1[capabilities.l1AcceptableLatency]} `,
        ),
        flag('ExtTag', capabilities.extendedTag),
        maybe(
          'AttnInd',
          flagLine(
            { attentionButton: 'AttnBtn', attentionIndicator: 'AttnInd', powerIndicator: 'PwrInd' },
            capabilities,
          ),
        ),
        flag('RBE', capabilities.roleBasedErrorReporting),
        maybe('FLReset', flag('FLReset', capabilities.functionLevelReset)),
        maybe('SlotPowerLimit', `SlotPowerLimit ${watts(capabilities.slotPowerLimit)}`),
      ],
    },
    {
      register: 'DevCtl',
      fragments: [
        `${flagLine({ correctableErrors: 'CorrErr', nonFatalErrors: 'NonFatalErr', fatalErrors: 'FatalErr', unsupportedRequests: 'UnsupReq' }, control)}`,
        flagLine(
          {
            relaxedOrdering: 'RlxdOrd',
            extendedTag: 'ExtTag',
            phantomFunctions: 'PhantFunc',
            auxPower: 'AuxPwr',
            noSnoop: 'NoSnoop',
          },
          control,
        ),
        maybe('BrConfRtry', flag('BrConfRtry', control.bridgeConfigRetry)),
        `MaxPayload ${control.maxPayload} bytes, MaxReadReq ${control.maxReadRequest} bytes`,
      ],
    },
    {
      register: 'DevSta',
      fragments: [
        `${flagLine({ correctableError: 'CorrErr', nonFatalError: 'NonFatalErr', fatalError: 'FatalErr', unsupportedRequest: 'UnsupReq', auxPower: 'AuxPwr', transactionsPending: 'TransPend' }, status)}`,
      ],
    },
  ];
}

const indicator = (state: string) =>
  state === 'reserved' ? 'Unknown' : `${state[0]!.toUpperCase()}${state.slice(1)}`;

function slot({
  capabilities,
  control,
  status,
}: NonNullable<Express['slot']>): RegisterFragments[] {
  return [
    {
      register: 'SltCap',
      fragments: [
        `${flagLine({ attentionButton: 'AttnBtn', powerController: 'PwrCtrl', mrlSensor: 'MRL', attentionIndicator: 'AttnInd', powerIndicator: 'PwrInd', hotPlug: 'HotPlug', hotPlugSurprise: 'Surprise' }, capabilities)}`,
        `Slot #${capabilities.slotNumber}, PowerLimit ${watts(capabilities.powerLimit)};`,
        flagLine({ interlock: 'Interlock', noCommandCompleted: 'NoCompl' }, capabilities),
      ],
    },
    {
      register: 'SltCtl',
      fragments: [
        `Enable: ${flagLine({ attentionButtonPressed: 'AttnBtn', powerFault: 'PwrFlt', mrlSensorChanged: 'MRL', presenceDetectChanged: 'PresDet', commandCompleted: 'CmdCplt', hotPlugInterrupt: 'HPIrq', linkStateChanged: 'LinkChg' }, control)}`,
        `Control: AttnInd ${indicator(control.attentionIndicator)}, PwrInd ${indicator(control.powerIndicator)},`,
        flagLine({ powerOff: 'Power', interlock: 'Interlock' }, control),
      ],
    },
    {
      register: 'SltSta',
      fragments: [
        `Status: ${flagLine({ attentionButtonPressed: 'AttnBtn', powerFault: 'PowerFlt', mrlOpen: 'MRL', commandCompleted: 'CmdCplt', presenceDetect: 'PresDet', interlock: 'Interlock' }, status)}`,
        `Changed: ${flagLine({ mrlSensorChanged: 'MRL', presenceDetectChanged: 'PresDet', linkStateChanged: 'LinkState' }, status)}`,
      ],
    },
  ];
}

function root({
  capabilities,
  control,
  status,
}: NonNullable<Express['root']>): RegisterFragments[] {
  return [
    {
      register: 'RootCap',
      fragments: [`${flag('CRSVisible', capabilities.rrsSoftwareVisibility)}`],
    },
    {
      register: 'RootCtl',
      fragments: [
        `${flagLine({ correctableErrors: 'ErrCorrectable', nonFatalErrors: 'ErrNon-Fatal', fatalErrors: 'ErrFatal', pmeInterrupt: 'PMEIntEna', rrsSoftwareVisibility: 'CRSVisible' }, control)}`,
      ],
    },
    {
      register: 'RootSta',
      fragments: [
        `PME ReqID ${hexDigits(status.pmeRequester, 4)}, ${flagLine({ pmeStatus: 'PMEStatus', pmePending: 'PMEPending' }, status)}`,
      ],
    },
  ];
}

const timeoutRanges: Record<number, string> = {
  0: 'Not Supported',
  1: 'Range A',
  2: 'Range B',
  3: 'Range AB',
  6: 'Range BC',
  7: 'Range ABC',
  14: 'Range BCD',
  15: 'Range ABCD',
};

const timeouts: Record<number, string> = {
  0: '50us to 50ms',
  1: '50us to 100us',
  2: '1ms to 10ms',
  5: '16ms to 55ms',
  6: '65ms to 210ms',
  9: '260ms to 900ms',
  10: '1s to 3.5s',
  13: '4s to 13s',
  14: '17s to 64s',
};

function device2({ capabilities, control }: NonNullable<Express['device2']>): RegisterFragments[] {
  const tph = capabilities.tphCompleter;
  return [
    {
      register: 'DevCap2',
      fragments: [
        `Completion Timeout: ${timeoutRanges[capabilities.completionTimeoutRanges] ?? 'Unknown'},`,
        flagLine(
          {
            completionTimeoutDisable: 'TimeoutDis',
            noRoEnabledPrPrPassing: 'NROPrPrP',
            ltr: 'LTR',
          },
          capabilities,
        ),
        flagLine(
          { tenBitTagCompleter: '10BitTagComp', tenBitTagRequester: '10BitTagReq' },
          capabilities,
        ),
        `OBFF ${['Not Supported', 'Via message', 'Via WAKE#', 'Via message/WAKE#'][capabilities.obff]},`,
        flagLine({ extendedFmt: 'ExtFmt', endEndTlpPrefix: 'EETLPPrefix' }, capabilities),
        maybe('MaxEETLPPrefixes', `MaxEETLPPrefixes ${capabilities.maxEndEndTlpPrefixes}`),
        flag('EmergencyPowerReductionInit', capabilities.emergencyPowerReductionInit),
        flag('FRS', capabilities.frs),
        maybe(
          'TPHComp',
          `${flag('TPHComp', (tph & 1) !== 0)} ${flag('ExtTPHComp', (tph & 2) !== 0)}`,
        ),
        maybe('ARIFwd', flag('ARIFwd', capabilities.ariForwarding)),
        maybe('Routing', flag('Routing', capabilities.atomicOpRouting)),
        maybe(
          '128bitCAS',
          flagLine(
            { atomicOp32: '32bit', atomicOp64: '64bit', atomicOpCas128: '128bitCAS' },
            capabilities,
          ),
        ),
      ],
    },
    {
      register: 'DevCtl2',
      fragments: [
        `Completion Timeout: ${timeouts[control.completionTimeout] ?? 'Unknown'},`,
        flagLine(
          { completionTimeoutDisable: 'TimeoutDis', ltr: 'LTR', tenBitTagRequester: '10BitTagReq' },
          control,
        ),
        `OBFF ${['Disabled', 'Via message A', 'Via message B', 'Via WAKE#'][control.obff]},`,
        maybe('ARIFwd', flag('ARIFwd', control.ariForwarding)),
        maybe('ReqEn', flag('ReqEn', control.atomicOpRequester)),
        maybe('EgressBlck', flag('EgressBlck', control.atomicOpEgressBlocking)),
      ],
    },
  ];
}

/** Of the PCI Express capability; undefined for others. */
export function expressFragments(
  cap: Capability | ExtendedCapability,
): (Fragment | RegisterFragments)[] | undefined {
  if (cap.kind !== 'pcie') return undefined;
  return [
    `Express (v${cap.version}) ${types[cap.portType]}`,
    ...(/^(root|downstream)-port$/.test(cap.portType) ? [flag('(Slot', cap.slotImplemented)] : []),
    `MSI ${hexDigits(cap.interruptMessage, 2)}`,
    ...device(cap),
    ...(cap.link ? link(cap.link) : []),
    ...(cap.slot ? slot(cap.slot) : []),
    ...(cap.root ? root(cap.root) : []),
    ...(cap.device2 ? device2(cap.device2) : []),
    ...(cap.link2 ? link2(cap.link2) : []),
  ];
}
