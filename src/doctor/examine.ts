/** All checks, of the machine and, if one is named, of a device. */
import { readPciDevice } from '../pci/sysfs';
import * as device from './device-checks';
import type { Finding } from './finding';
import { checkDeviceNodes, checkInterfaces } from './interface-checks';
import { checkInterruptRemapping } from './interrupt-checks';
import { checkAcsOverride, checkIommu, checkUnprotected } from './iommu-checks';
import { checkHugePages, checkMemlock, checkVfioPci } from './machine-checks';
import { checkLockdown, checkSecureBoot } from './security-checks';

/** Nothing is changed by it. @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE */
export function examine(address?: string): Finding[] {
  const pci = address === undefined ? undefined : readPciDevice(address);
  return [
    checkIommu(),
    ...checkUnprotected(),
    ...checkAcsOverride(),
    ...checkInterruptRemapping(),
    checkVfioPci(),
    checkInterfaces(),
    checkDeviceNodes(),
    checkMemlock(),
    checkHugePages(),
    checkLockdown(),
    ...checkSecureBoot(),
    ...(pci === undefined
      ? []
      : [
          device.checkGroup(pci),
          ...device.checkIsolation(pci),
          ...device.checkDriver(pci),
          ...device.checkNodes(pci),
          device.checkReset(pci),
          ...device.checkSriov(pci),
          ...device.checkNuma(pci),
        ]),
  ];
}
