import type { Capability, ConfigSpace, ExtendedCapability } from 'vfio';
import { type Fragment, flag, flagLine, hexDigits } from './compare';

const VIRTIO = 0x1af4;

/** Of the first list; undefined for others. */
export function basicFragments(
  cap: Capability | ExtendedCapability,
  { header }: ConfigSpace,
): Fragment[] | undefined {
  switch (cap.kind) {
    case 'pm': {
      const pme = flagLine(
        { d0: 'D0', d1: 'D1', d2: 'D2', d3hot: 'D3hot', d3cold: 'D3cold' },
        cap.pmeFrom,
      );
      return [
        `Power Management version ${cap.version}`,
        `Flags: ${flagLine({ pmeClock: 'PMEClk', deviceSpecificInit: 'DSI', d1: 'D1', d2: 'D2' }, cap)}`,
        `AuxCurrent=${cap.auxCurrent}mA PME(${pme.replaceAll(' ', ',')})`,
        `Status: ${cap.state.replace('hot', '')} ${flag('NoSoftRst', cap.noSoftReset)} PME-Enable${cap.pmeEnable ? '+' : '-'}`,
        `DSel=${cap.dataSelect} DScale=${cap.dataScale} ${flag('PME', cap.pmeStatus)}`,
        {
          where: 'Bridge:',
          text: `Bridge: ${flag('PM', cap.bridge.busPowerClockControl)} ${flag('B3', !cap.bridge.b2b3)}`,
        },
      ];
    }
    case 'vpd':
      return ['Vital Product Data'];
    case 'msi':
      return [
        `MSI: ${flag('Enable', cap.enabled)} Count=${cap.vectorsEnabled}/${cap.vectorsCapable}`,
        `${flag('Maskable', cap.perVectorMasking)} ${flag('64bit', cap.is64Bit)}`,
        `Address: ${hexDigits(cap.address, cap.is64Bit ? 16 : 8)} Data: ${hexDigits(cap.data, 4)}`,
        ...(cap.mask === null || cap.pending === null
          ? []
          : [`Masking: ${hexDigits(cap.mask, 8)} Pending: ${hexDigits(cap.pending, 8)}`]),
      ];
    case 'vendor':
      if (header.vendorId === VIRTIO) return ['Vendor Specific Information: VirtIO'];
      return [`Vendor Specific Information: Len=${hexDigits(cap.length, 2)}`];
    case 'ssvid':
      return [`Subsystem: ${hexDigits(cap.subsystemVendorId, 4)}:${hexDigits(cap.subsystemId, 4)}`];
    case 'msix':
      return [
        `MSI-X: ${flag('Enable', cap.enabled)} Count=${cap.tableSize} ${flag('Masked', cap.functionMask)}`,
        `Vector table: BAR=${cap.table.bar} offset=${hexDigits(cap.table.offset, 8)}`,
        `PBA: BAR=${cap.pba.bar} offset=${hexDigits(cap.pba.offset, 8)}`,
      ];
    case 'af':
      return [
        'PCI Advanced Features',
        `AFCap: ${flagLine({ transactionsPendingCapable: 'TP', functionLevelReset: 'FLR' }, cap)}`,
        { where: 'AFStatus:', text: `AFStatus: ${flag('TP', cap.transactionsPending)}` },
      ];
    default:
      return undefined;
  }
}
