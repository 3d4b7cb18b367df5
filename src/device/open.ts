import type { Container } from '../dma/container';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { native } from '../native';
import { type PciDevice, readPciDevice } from '../pci/sysfs';
import { Device } from './device';
import { Group } from './group';
import { vfTokenBytes } from './vf-token';

export interface OpenOptions {
  /** For a PF with SR-IOV: its VFs open only with this UUID. For a VF of such a PF: that UUID. */
  readonly vfToken?: string;
  /** Put the device's group in this container, to share its mappings with other groups. */
  readonly container?: Container;
}

/**
 * Open a PCI device that is bound to vfio-pci (see `bindDriver`). Bus master is off.
 * @throws VfioError: ERR_VFIO_INVALID_BDF, ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE,
 * ERR_VFIO_NOT_BOUND, ERR_VFIO_NO_IOMMU_GROUP, ERR_VFIO_UNAVAILABLE, ERR_VFIO_GROUP_NOT_VIABLE,
 * EBUSY (group in use), EACCES (permission, or the VF token), EINVAL (a token that is not taken)
 */
export async function openDevice(address: string, options: OpenOptions = {}): Promise<Device> {
  const pci = readPciDevice(address);
  const { vfToken, container } = options;
  if (vfToken !== undefined) vfTokenBytes(vfToken);
  const group = await Group.acquire(groupOf(pci), container);
  let fd = -1;
  try {
    const name = vfToken === undefined ? pci.bdf : `${pci.bdf} vf_token=${vfToken}`;
    fd = await group.getDeviceFd(name);
    return new Device(pci.bdf, fd, group);
  } catch (error) {
    if (fd >= 0) await native.closeAsync(fd);
    await group.release();
    throw explain(error, pci);
  }
}

function groupOf({ bdf, path, driver, iommuGroup }: PciDevice): number {
  if (driver === undefined || !driver.includes('vfio')) {
    throw new VfioError('ERR_VFIO_NOT_BOUND', `${bdf} is not bound to vfio-pci`, {
      device: bdf,
      path,
      hint: hints.notBound(bdf, driver),
    });
  }
  if (iommuGroup === undefined) {
    throw new VfioError('ERR_VFIO_NO_IOMMU_GROUP', `${bdf} is in no IOMMU group`, {
      device: bdf,
      path,
      hint: hints.noIommuGroup(),
    });
  }
  return iommuGroup;
}

/** Only dmesg tells what the kernel meant by its errno. */
function explain(error: unknown, { bdf }: PciDevice): unknown {
  if (!(error instanceof VfioError)) return error;
  const hint = isErrno(error, 'EACCES')
    ? hints.tokenRequired()
    : isErrno(error, 'EINVAL')
      ? hints.tokenNotTaken()
      : error.hint;
  const { code, message, errno, syscall, ioctl, path, cause } = error;
  return new VfioError(code, message, { errno, syscall, ioctl, path, device: bdf, hint, cause });
}
