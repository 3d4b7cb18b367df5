/** Checks of what limits DMA mappings: their number, and the addresses they may have. */
import { join } from 'node:path';
import { hints } from '../hints';
import { GROUPS } from '../pci/iommu-group';
import { fileText } from '../pci/kernel-files';
import { SYS } from '../pci/paths';
import { type PciDevice, readAttribute } from '../pci/sysfs';
import { type Finding, ok } from './finding';

const entryLimit = join(SYS, 'module/vfio_iommu_type1/parameters/dma_entry_limit');

/** The kernel's own default (drivers/vfio/vfio_iommu_type1.c). */
const DEFAULT_ENTRIES = 65_535;

export function checkMappings(): Finding[] {
  const text = readAttribute(entryLimit);
  if (text === undefined || !/^\d+$/.test(text)) return [];
  const evidence = `${entryLimit}: ${text}`;
  if (Number(text) >= DEFAULT_ENTRIES) {
    return [ok('mappings', evidence, `a container takes ${text} mappings, then ENOSPC`)];
  }
  return [
    {
      id: 'mappings-few',
      level: 'warning',
      evidence,
      meaning: `a container takes ${text} mappings only, then ENOSPC`,
      fix: {
        text: hints.mappings(),
        commands: [],
        byHand: [`echo ${DEFAULT_ENTRIES} > ${entryLimit}`],
        risk: 'users can take that much kernel memory for mappings',
        reboot: false,
      },
    },
  ];
}

/** VT-d specification, 11.4.2: MGAW, the width of addresses less one. */
function widthOf(cap: string | undefined): number | undefined {
  if (cap === undefined || !/^[0-9a-f]{1,16}$/i.test(cap)) return undefined;
  return Number((BigInt(`0x${cap}`) >> 16n) & 0x3fn) + 1;
}

/** `0x00000000fee00000 0x00000000feefffff msi` a line: windows that no mapping may touch. */
export function checkAddresses({ path, iommuGroup }: PciDevice): Finding[] {
  if (iommuGroup === undefined) return [];
  const file = join(GROUPS, String(iommuGroup), 'reserved_regions');
  const regions = (fileText(file) ?? '').split('\n').flatMap((line) => {
    const match = /^(0x[0-9a-f]+) (0x[0-9a-f]+) ([a-z-]+)$/.exec(line);
    return match ? [{ first: match[1]!, last: match[2]!, type: match[3]! }] : [];
  });
  if (regions.length === 0) return [];
  const windows = regions.map(({ first, last, type }) => `${first}-${last} (${type})`).join(', ');
  const cap = join(path, 'iommu/intel-iommu/cap');
  const width = widthOf(readAttribute(cap));
  const evidence = `${file}: ${windows}${width === undefined ? '' : `; ${cap}: ${width} bits`}`;
  if (regions.some(({ type }) => type === 'direct')) {
    return [
      {
        id: 'reserved-memory',
        level: 'blocked',
        evidence,
        meaning:
          'the firmware keeps memory mapped for it (RMRR): the kernel refuses to give it away',
        fix: {
          text: hints.firmwareMemory(),
          commands: [],
          risk: 'what the firmware does with it, such as management, ends',
          reboot: true,
        },
      },
    ];
  }
  const limit = width === undefined ? '' : `, and below 2^${width}`;
  return [ok('addresses', evidence, `DMA addresses are outside of these windows${limit}`)];
}
