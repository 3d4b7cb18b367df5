/** The VFs of a PF in sysfs, and the attribute that sets their number. */
import { join } from 'node:path';
import { hints } from '../hints';
import { blockingRead } from './blocking-write';
import { SYS } from './paths';
import {
  listDirectory,
  type PciDevice,
  readAttribute,
  readFunctionLink,
  readLinkName,
} from './sysfs';
import { writeSysfs } from './sysfs-write';

type Function = Pick<PciDevice, 'path'>;

const ENABLE_SRIOV = join(SYS, 'module/vfio_pci/parameters/enable_sriov');

/** VFs that a PF can have; 0 for a device without SR-IOV. */
export function totalVfs({ path }: Function): number {
  const value = Number(readAttribute(join(path, 'sriov_totalvfs')) ?? 0);
  // A field of 16 bits (SR-IOV 1.1, 3.3.5).
  return Number.isInteger(value) && value >= 0 && value <= 0xffff ? value : 0;
}

/**
 * By the links to them. The attribute `sriov_numvfs` waits for the device lock, which an unbind holds until
 * the users of the device let go: one of them could be the reader.
 */
function links({ path }: Function): string[] {
  const index = (name: string) => Number(name.slice('virtfn'.length));
  return listDirectory(path)
    .filter((name) => /^virtfn\d{1,5}$/.test(name))
    .sort((a, b) => index(a) - index(b));
}

/** VFs that a PF has now. */
export const vfCount = (pf: Function) => links(pf).length;

/** Their addresses, in their order. */
export function vfAddresses(pf: Function): string[] {
  return links(pf)
    .map((name) => readFunctionLink(join(pf.path, name)))
    .filter((bdf) => bdf !== undefined);
}

/** The number of a VF, or -1 where the PF does not know it. */
export function vfIndex(pf: Function, bdf: string): number {
  const link = links(pf).find((name) => readLinkName(join(pf.path, name)) === bdf);
  return link === undefined ? -1 : Number(link.slice('virtfn'.length));
}

/** The writes to get from one number of VFs to another: the kernel takes a new one only after 0. */
export function countWrites(from: number, to: number): number[] {
  return from === to ? [] : [...(from === 0 ? [] : [0]), ...(to === 0 ? [] : [to])];
}

/** Have `count` VFs, via 0. @throws EACCES (not root), and what the driver of the PF says */
export async function setVfCount(pf: PciDevice, count: number): Promise<void> {
  for (const step of countWrites(vfCount(pf), count)) await writeCount(pf, step);
}

/** What the kernel has after a change, by the attribute. */
export async function confirmedCount({ path }: Function): Promise<number> {
  return Number(await blockingRead(join(path, 'sriov_numvfs')));
}

function writeCount({ bdf, path, driver }: PciDevice, count: number): Promise<void> {
  return writeSysfs(
    { path: join(path, 'sriov_numvfs'), text: String(count) },
    {
      what: `setting ${count} VFs of ${bdf}`,
      device: bdf,
      hints: {
        ENOENT: hintWithoutSriov(driver),
        EOPNOTSUPP: hintWithoutSriov(driver),
        ENOSPC: hints.noRoomForVfs(),
        ENOMEM: hints.noRoomForVfs(),
      },
    },
  );
}

/** The kernel answers so for a driver that makes no VFs. */
function hintWithoutSriov(driver: string | undefined): string | undefined {
  if (driver === undefined) return hints.noSriovDriver();
  if (driver !== 'vfio-pci') return hints.driverWithoutSriov(driver);
  return readAttribute(ENABLE_SRIOV) === 'Y' ? undefined : hints.sriovDisabled();
}
