/** All checks, of the machine and, if one is named, of a device. */
import { readPciDevice } from '../pci/sysfs';
import { checkDriver, checkGroup, checkNode, checkReset, checkSriov } from './device-checks';
import type { Finding } from './finding';
import * as machine from './machine-checks';

/** Nothing is changed by it. @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function examine(address?: string): Finding[] {
  const device = address === undefined ? undefined : readPciDevice(address);
  return [
    machine.checkIommu(),
    machine.checkVfioPci(),
    machine.checkInterfaces(),
    ...machine.checkInterruptRemapping(),
    machine.checkMemlock(),
    machine.checkHugePages(),
    machine.checkLockdown(),
    ...(device === undefined
      ? []
      : [
          checkGroup(device),
          ...checkDriver(device),
          ...checkNode(device),
          checkReset(device),
          ...checkSriov(device),
        ]),
  ];
}
