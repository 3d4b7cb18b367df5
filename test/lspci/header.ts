import type { BridgeWindow, ConfigBar, ConfigHeader } from 'vfio';
import { type Fragment, flag, flagLine, hexDigits } from './compare';

export function regionFragment({ index, space, bits, prefetchable, address }: ConfigBar): Fragment {
  if (space === 'io') return `Region ${index}: I/O ports at ${hexDigits(address, 4)}`;
  const kind = `(${bits}-bit, ${prefetchable ? 'prefetchable' : 'non-prefetchable'})`;
  return { where: `Region ${index}: Memory at ${hexDigits(address, 8)}`, text: kind };
}

const sixtySix = (status: { readonly sixtySixMhz: boolean }) =>
  `${flag('66MHz', status.sixtySixMhz)} `;

function windowFragments(name: string, window: BridgeWindow | null): Fragment[] {
  if (!window) return [];
  const range = [window.base, window.limit].map((end) => hexDigits(end, window.bits / 4)).join('-');
  return [`${name} behind bridge: ${range}`, `[${window.bits}-bit]`];
}

export function headerFragments(header: ConfigHeader): Fragment[] {
  const { command, status } = header;
  const common: Fragment[] = [
    `${hexDigits(header.class >>> 8, 4)}: ${hexDigits(header.vendorId, 4)}:${hexDigits(header.deviceId, 4)}`,
    ...(header.revision ? [`(rev ${hexDigits(header.revision, 2)})`] : []),
    ...(header.type === 'endpoint' && header.subsystemVendorId !== 0
      ? [`Subsystem: ${hexDigits(header.subsystemVendorId, 4)}:${hexDigits(header.subsystemId, 4)}`]
      : []),
    `Control: ${flagLine(
      {
        io: 'I/O',
        memory: 'Mem',
        busMaster: 'BusMaster',
        specialCycles: 'SpecCycle',
        memoryWriteInvalidate: 'MemWINV',
        vgaPaletteSnoop: 'VGASnoop',
        parityErrorResponse: 'ParErr',
        stepping: 'Stepping',
        serr: 'SERR',
        fastBackToBack: 'FastB2B',
        intxDisable: 'DisINTx',
      },
      command,
    )}`,
    `Status: ${flagLine({ capabilityList: 'Cap' }, status)} ${sixtySix(status)}`,
    `${flagLine({ fastBackToBack: 'FastB2B', masterDataParityError: 'ParErr' }, status)} DEVSEL=${status.devsel}`,
    flagLine(
      {
        signaledTargetAbort: '>TAbort',
        receivedTargetAbort: '<TAbort',
        receivedMasterAbort: '<MAbort',
        systemError: '>SERR',
        detectedParityError: '<PERR',
        interrupt: 'INTx',
      },
      status,
    ),
    ...(command.busMaster ? [`Latency: ${header.latencyTimer}`] : []),
    ...(header.interruptPin > 0 && header.interruptPin <= 4
      ? [`Interrupt: pin ${' ABCD'[header.interruptPin]} routed to IRQ`]
      : []),
  ];
  if (header.type === 'endpoint') return [...common, ...header.bars.map(regionFragment)];
  if (header.type !== 'bridge') return common;
  return [
    ...common,
    ...header.bars.map(regionFragment),
    `Bus: primary=${hexDigits(header.primaryBus, 2)}, secondary=${hexDigits(header.secondaryBus, 2)}, subordinate=${hexDigits(header.subordinateBus, 2)}, sec-latency=${header.secondaryLatencyTimer}`,
    ...windowFragments('I/O', header.ioWindow),
    ...windowFragments('Memory', header.memoryWindow),
    ...windowFragments('Prefetchable memory', header.prefetchableWindow),
    `Secondary status: ${sixtySix(header.secondaryStatus)}`,
    flagLine(
      {
        signaledTargetAbort: '>TAbort',
        receivedTargetAbort: '<TAbort',
        receivedMasterAbort: '<MAbort',
        systemError: '<SERR',
        detectedParityError: '<PERR',
      },
      header.secondaryStatus,
    ),
    `BridgeCtl: ${flagLine(
      {
        parityErrorResponse: 'Parity',
        serr: 'SERR',
        isa: 'NoISA',
        vga: 'VGA',
        vga16Bit: 'VGA16',
        masterAbort: 'MAbort',
        secondaryBusReset: '>Reset',
        fastBackToBack: 'FastB2B',
      },
      header.bridgeControl,
    )}`,
    flagLine(
      {
        primaryDiscardTimer: 'PriDiscTmr',
        secondaryDiscardTimer: 'SecDiscTmr',
        discardTimerStatus: 'DiscTmrStat',
        discardTimerSerr: 'DiscTmrSERREn',
      },
      header.bridgeControl,
    ),
  ];
}
