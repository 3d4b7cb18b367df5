/** The addresses that the kernel gave to a device's BARs (its `resource` file in sysfs). */
import { join } from 'node:path';
import { type PciDevice, readAttribute } from './sysfs';

export interface BarResource {
  readonly name: `bar${number}` | 'rom';
  /** Hex, `0xfebc0000`; null where the kernel found no place for it: its registers cannot be reached. */
  readonly address: string | null;
  /** In bytes. */
  readonly size: number;
  readonly space: 'memory' | 'io';
  readonly bits: 32 | 64;
  readonly prefetchable: boolean;
}

/** linux/ioport.h */
const IORESOURCE_IO = 0x100n;
const IORESOURCE_MEM = 0x200n;
const IORESOURCE_PREFETCH = 0x2000n;
const IORESOURCE_MEM_64 = 0x10_0000n;
const IORESOURCE_UNSET = 0x2000_0000n;
const IORESOURCE_DISABLED = 0x1000_0000n;

const ROM_INDEX = 6;

/** The BARs that are there, with or without an address; null where the kernel does not report them. */
export function barResources({ path }: PciDevice): BarResource[] | null {
  const text = readAttribute(join(path, 'resource'));
  if (text === undefined) return null;
  const lines = text.split('\n').slice(0, ROM_INDEX + 1);
  return lines.flatMap((line, index) => {
    const numbers = /^(0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16}) (0x[0-9a-f]{1,16})$/.exec(line);
    if (!numbers) return [];
    const [start, end, flags] = numbers.slice(1).map(BigInt) as [bigint, bigint, bigint];
    if ((flags & (IORESOURCE_IO | IORESOURCE_MEM)) === 0n || end < start) return [];
    const bar: BarResource = {
      name: index === ROM_INDEX ? 'rom' : `bar${index}`,
      address: isPlaced(start, flags) ? `0x${start.toString(16)}` : null,
      size: Number(end - start + 1n),
      space: (flags & IORESOURCE_IO) !== 0n ? 'io' : 'memory',
      bits: (flags & IORESOURCE_MEM_64) !== 0n ? 64 : 32,
      prefetchable: (flags & IORESOURCE_PREFETCH) !== 0n,
    };
    return [bar];
  });
}

/** The kernel keeps the size of a BAR that it could not place, at address 0. */
function isPlaced(start: bigint, flags: bigint): boolean {
  if ((flags & (IORESOURCE_UNSET | IORESOURCE_DISABLED)) !== 0n) return false;
  return start !== 0n || (flags & IORESOURCE_IO) !== 0n;
}
