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
import { type PciDevice, readPciDevice } from '../pci/sysfs';
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

function assertBound({ bdf, driver }: PciDevice): void {
  if (driver?.includes('vfio')) return;
  throw new Error(`${bdf} is bound to ${driver ?? 'no driver'}, not to vfio-pci`);
}

async function throughGroup(inquiry: UapiInquiry, pci: PciDevice): Promise<void> {
  const { bdf, iommuGroup } = pci;
  await withFd(openNode(CONTAINER_PATH), async (container) => {
    inquiry.container(container);
    assertBound(pci);
    if (iommuGroup === undefined) throw new Error(`${bdf} is in no IOMMU group`);
    await withFd(openNode(`${DEV_VFIO}/${iommuGroup}`), async (group) => {
      groupSetContainer(group, container);
      setIommu(container, VFIO_TYPE1v2_IOMMU);
      for (const name of ['GET_STATUS', 'SET_CONTAINER', 'UNSET_CONTAINER', 'GET_DEVICE_FD']) {
        inquiry.ioctls.note(`VFIO_GROUP_${name}`, yes('the group opens'));
      }
      inquiry.ioctls.note('VFIO_SET_IOMMU', yes('the group opens'));
      inquiry.type1(container);
      await withFd(await groupGetDeviceFd(group, bdf), (device) => inquiry.device(device));
    });
  });
}

async function throughCdev(inquiry: UapiInquiry, pci: PciDevice): Promise<void> {
  await withFd(openNode(IOMMUFD_PATH), async (iommufd) => {
    inquiry.requests(iommufd, iommufdRequests);
    assertBound(pci);
    const path = cdevPath(pci);
    if (path === undefined) throw new Error(`${pci.bdf} has no character device`);
    await withFd(openNode(path), async (device) => {
      await deviceBindIommufd(device, iommufd);
      inquiry.requests(device, cdevRequests);
      inquiry.device(device);
    });
  });
}

/**
 * Ask the kernel, through groups and through iommufd, and change nothing that asking does not: the
 * kernel resets a device as it is opened and closed, so it must be bound to vfio-pci, and in
 * nobody's use. Where that is not so, what needs the device is not probed.
 * @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE
 */
export async function probeUapi(address: string): Promise<UapiProbe> {
  const pci = readPciDevice(address);
  const inquiry = new UapiInquiry();
  const failures: string[] = [];
  for (const ask of [throughGroup, throughCdev]) {
    try {
      await ask(inquiry, pci);
    } catch (error) {
      failures.push(reason(error));
    }
  }
  const otherwise = unknown(['not probed', ...new Set(failures)].join('; '));
  return {
    device: pci.bdf,
    kernel: release(),
    ioctls: inquiry.ioctls.inOrder(Object.keys(uapi.ioctls), otherwise),
    extensions: inquiry.extensions.inOrder(extensions, otherwise),
    features: inquiry.features.inOrder(Object.keys(uapi.features), {
      ...otherwise,
      get: null,
      set: null,
    }),
    capabilities: inquiry.capabilities.inOrder(Object.keys(uapi.capabilities), otherwise),
  };
}
