/** All PCI devices of the machine, with what matters for giving them to user space. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { isBdf } from './address';
import type { PciNames } from './ids';
import { type Readiness, readinessOf } from './readiness';
import { listDirectory, PCI_DEVICES, type PciDevice, readAttribute, readPciDevice } from './sysfs';
import { totalVfs, vfCount, vfIndex } from './virtual-functions';

export type SriovRole =
  | { readonly role: 'pf'; readonly numVfs: number; readonly totalVfs: number }
  | { readonly role: 'vf'; readonly pf: string; readonly index: number };

export interface ListedDevice {
  readonly bdf: string;
  readonly vendor: number;
  readonly device: number;
  /** Base class, sub-class and programming interface. */
  readonly class: number;
  /** From pci.ids; null where it has none. */
  readonly vendorName: string | null;
  readonly deviceName: string | null;
  readonly className: string | null;
  readonly driver: string | null;
  readonly iommuGroup: number | null;
  /** null on a machine of one node. */
  readonly numaNode: number | null;
  readonly sriov: SriovRole | null;
  readonly readiness: Readiness;
  readonly blockers: readonly string[];
}

/** All that are described so; a device that is unplugged meanwhile is left out. */
export function describeDevices<Description>(
  describe: (pci: PciDevice) => Description,
): Description[] {
  if (!existsSync(PCI_DEVICES)) {
    throw new VfioError('ERR_VFIO_UNAVAILABLE', `there is no PCI here: no ${PCI_DEVICES}`, {
      path: PCI_DEVICES,
      hint: hints.noPci(),
    });
  }
  return listDirectory(PCI_DEVICES)
    .filter(isBdf)
    .flatMap((bdf) => {
      try {
        return [describe(readPciDevice(bdf))];
      } catch (error) {
        if (isErrno(error, 'ERR_VFIO_NO_DEVICE')) return [];
        throw error;
      }
    });
}

export function describeDevice(pci: PciDevice, names: PciNames): ListedDevice {
  const { vendor, device } = pci;
  const node = Number(readAttribute(join(pci.path, 'numa_node')) ?? -1);
  return {
    bdf: pci.bdf,
    vendor,
    device,
    class: pci.class,
    vendorName: names.vendor(vendor) ?? null,
    deviceName: names.device(vendor, device) ?? null,
    className: names.class(pci.class) ?? null,
    driver: pci.driver ?? null,
    iommuGroup: pci.iommuGroup ?? null,
    numaNode: Number.isInteger(node) && node >= 0 ? node : null,
    sriov: sriovRole(pci),
    ...readinessOf(pci),
  };
}

function sriovRole(pci: PciDevice): SriovRole | null {
  if (pci.physfn !== undefined) {
    const path = join(PCI_DEVICES, pci.physfn);
    return { role: 'vf', pf: pci.physfn, index: vfIndex({ path }, pci.bdf) };
  }
  const total = totalVfs(pci);
  return total === 0 ? null : { role: 'pf', numVfs: vfCount(pci), totalVfs: total };
}
