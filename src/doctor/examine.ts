/** All checks, of the machine and, if one is named, of a device. */
import { type PciDevice, readPciDevice } from '../pci/sysfs';
import { checkAddresses, checkMappings } from './address-checks';
import { checkAbandoned, checkOverride } from './binding-checks';
import {
  checkBars,
  checkController,
  checkDenylist,
  checkDriver,
  checkGroup,
  checkIsolation,
  checkKind,
  checkNuma,
} from './device-checks';
import type { Finding } from './finding';
import { checkPower, checkReset, checkSriov } from './function-checks';
import { checkDeviceNodes, checkInterfaces } from './interface-checks';
import { checkInterruptRemapping } from './interrupt-checks';
import { checkAcsOverride, checkIommu, checkUnprotected } from './iommu-checks';
import { checkContainer, checkHugePages, checkMemlock, checkVfioPci } from './machine-checks';
import { checkNodes } from './node-checks';
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
    ...checkAbandoned(),
    ...checkContainer(),
    checkMemlock(),
    ...checkMappings(),
    checkHugePages(),
    checkLockdown(),
    ...checkSecureBoot(),
    ...(pci === undefined ? [] : examineDevice(pci)),
  ];
}

function examineDevice(pci: PciDevice): Finding[] {
  const hopeless = checkKind(pci);
  if (hopeless) return [hopeless];
  const controller = checkController(pci);
  if (controller) return [controller];
  return [
    checkGroup(pci),
    ...checkIsolation(pci),
    ...checkAddresses(pci),
    checkDriver(pci),
    ...checkDenylist(pci),
    ...checkBars(pci),
    ...checkOverride(pci),
    ...checkNodes(pci),
    ...checkPower(pci),
    checkReset(pci),
    ...checkSriov(pci),
    ...checkNuma(pci),
  ];
}
