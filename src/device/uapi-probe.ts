/** Which requests, features and capabilities of the ABI's table the running kernel has for a device. */
import { constants as fsConstants } from 'node:fs';
import { release } from 'node:os';
import { CONTAINER_PATH, IOMMUFD_PATH } from '../dma/container';
import { check } from '../errors';
import { VFIO_TYPE1v2_IOMMU } from '../ioctl/abi/constants';
import { uapi } from '../ioctl/abi/uapi';
import { deviceBindIommufd } from '../ioctl/cdev';
import { setIommu } from '../ioctl/container';
import { groupGetDeviceFd, groupSetContainer } from '../ioctl/group';
import { native } from '../native';
import { DEV_VFIO } from '../pci/paths';
import { type BusDevice, findDevice, hasVfioDriver } from './bus-device';
import { cdevPath } from './cdev';
import type { FeatureFinding, UapiFinding } from './uapi-findings';
import {
  cdevRequests,
  extensions,
  iommufdRequests,
  reason,
  UapiInquiry,
  unknown,
  yes,
} from './uapi-inquiry';

export interface UapiProbe {
  readonly device: string;
  /** `uname -r`. */
  readonly kernel: string;
  readonly ioctls: Readonly<Record<string, UapiFinding>>;
  /** The constants that VFIO_CHECK_EXTENSION takes. */
  readonly extensions: Readonly<Record<string, UapiFinding>>;
  readonly features: Readonly<Record<string, FeatureFinding>>;
  /** Present: in a chain of this device, its regions, or its container's IOMMU. */
  readonly capabilities: Readonly<Record<string, UapiFinding>>;
}

const { O_RDWR } = fsConstants;

function openNode(path: string): number {
  return check(native.open(path, O_RDWR), `open ${path}`, { syscall: 'open', path });
}

/** Lend `use` a descriptor. */
async function withFd(fd: number, use: (fd: number) => Promise<void> | void): Promise<void> {
  try {
    await use(fd);
  } finally {
    await native.closeAsync(fd);
  }
}

function assertBound(device: BusDevice): void {
  if (hasVfioDriver(device)) return;
  const { name, driver } = device;
  throw new Error(`${name} is bound to ${driver ?? 'no driver'}, not to vfio-pci`);
}

async function throughGroup(inquiry: UapiInquiry, found: BusDevice): Promise<void> {
  const { name, iommuGroup } = found;
  await withFd(openNode(CONTAINER_PATH), async (container) => {
    inquiry.container(container);
    assertBound(found);
    if (iommuGroup === undefined) throw new Error(`${name} is in no IOMMU group`);
    await withFd(openNode(`${DEV_VFIO}/${iommuGroup}`), async (group) => {
      groupSetContainer(group, container);
      await setIommu(container, VFIO_TYPE1v2_IOMMU);
      for (const what of ['GET_STATUS', 'SET_CONTAINER', 'UNSET_CONTAINER', 'GET_DEVICE_FD']) {
        inquiry.ioctls.note(`VFIO_GROUP_${what}`, yes('the group opens'));
      }
      inquiry.ioctls.note('VFIO_SET_IOMMU', yes('the group opens'));
      inquiry.type1(container);
      await withFd(await groupGetDeviceFd(group, name), (device) => inquiry.device(device));
    });
  });
}

async function throughCdev(inquiry: UapiInquiry, found: BusDevice): Promise<void> {
  await withFd(openNode(IOMMUFD_PATH), async (iommufd) => {
    inquiry.requests(iommufd, iommufdRequests);
    assertBound(found);
    const path = cdevPath(found);
    if (path === undefined) throw new Error(`${found.name} has no character device`);
    await withFd(openNode(path), async (device) => {
      await deviceBindIommufd(device, iommufd);
      inquiry.requests(device, cdevRequests);
      inquiry.device(device);
    });
  });
}

/**
 * Ask the kernel, through groups and through iommufd, and change nothing that asking does not: the
 * kernel resets a device as it is opened and closed, so it must be bound to a VFIO driver, and in
 * nobody's use. Where that is not so, what needs the device is not probed.
 * @param device a PCI address, the UUID of a mediated device, or the name of a platform device
 * @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE
 */
export async function probeUapi(device: string): Promise<UapiProbe> {
  const found = findDevice(device);
  const inquiry = new UapiInquiry();
  const failures: string[] = [];
  for (const ask of [throughGroup, throughCdev]) {
    try {
      await ask(inquiry, found);
    } catch (error) {
      failures.push(reason(error));
    }
  }
  const { ioctls, features, capabilities } = uapi();
  const otherwise = unknown(['not probed', ...new Set(failures)].join('; '));
  return {
    device: found.name,
    kernel: release(),
    ioctls: inquiry.ioctls.inOrder(Object.keys(ioctls), otherwise),
    extensions: inquiry.extensions.inOrder(extensions, otherwise),
    features: inquiry.features.inOrder(Object.keys(features), {
      ...otherwise,
      get: null,
      set: null,
    }),
    capabilities: inquiry.capabilities.inOrder(Object.keys(capabilities), otherwise),
  };
}
