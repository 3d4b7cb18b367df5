/** Questions about the ABI to open descriptors: none of them changes anything. */
import { isErrno } from '../errors';
import * as c from '../ioctl/abi/constants';
import { type RequestName, requests } from '../ioctl/abi/requests';
import { uapi } from '../ioctl/abi/uapi';
import { checkExtension, iommuGetInfo } from '../ioctl/container';
import { deviceFeature, deviceGetInfo, deviceGetRegionInfo } from '../ioctl/device';
import { knowsRequest } from '../ioctl/knows';
import { possibleRegions } from './region-list';
import { type FeatureFinding, Findings, type UapiFinding } from './uapi-findings';

/** The constants that VFIO_CHECK_EXTENSION takes. */
export const extensions = [
  'VFIO_TYPE1_IOMMU',
  'VFIO_SPAPR_TCE_IOMMU',
  'VFIO_TYPE1v2_IOMMU',
  'VFIO_DMA_CC_IOMMU',
  'VFIO_EEH',
  '__VFIO_RESERVED_TYPE1_NESTING_IOMMU',
  'VFIO_SPAPR_TCE_v2_IOMMU',
  'VFIO_NOIOMMU_IOMMU',
  'VFIO_UNMAP_ALL',
  'VFIO_UPDATE_VADDR',
] as const;

/** Requests of other architectures are there with an extension; their numbers are those of others. */
const withExtension: Partial<Record<RequestName, (typeof extensions)[number]>> = {
  VFIO_IOMMU_ENABLE: 'VFIO_SPAPR_TCE_IOMMU',
  VFIO_IOMMU_DISABLE: 'VFIO_SPAPR_TCE_IOMMU',
  VFIO_IOMMU_SPAPR_TCE_GET_INFO: 'VFIO_SPAPR_TCE_IOMMU',
  VFIO_IOMMU_SPAPR_REGISTER_MEMORY: 'VFIO_SPAPR_TCE_v2_IOMMU',
  VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY: 'VFIO_SPAPR_TCE_v2_IOMMU',
  VFIO_IOMMU_SPAPR_TCE_CREATE: 'VFIO_SPAPR_TCE_v2_IOMMU',
  VFIO_IOMMU_SPAPR_TCE_REMOVE: 'VFIO_SPAPR_TCE_v2_IOMMU',
  VFIO_EEH_PE_OP: 'VFIO_EEH',
};

const type1Requests: readonly RequestName[] = [
  'VFIO_IOMMU_GET_INFO',
  'VFIO_IOMMU_MAP_DMA',
  'VFIO_IOMMU_UNMAP_DMA',
  'VFIO_IOMMU_DIRTY_PAGES',
];

const deviceRequests: readonly RequestName[] = [
  'VFIO_DEVICE_GET_INFO',
  'VFIO_DEVICE_GET_REGION_INFO',
  'VFIO_DEVICE_GET_IRQ_INFO',
  'VFIO_DEVICE_SET_IRQS',
  'VFIO_DEVICE_GET_PCI_HOT_RESET_INFO',
  'VFIO_DEVICE_PCI_HOT_RESET',
  'VFIO_DEVICE_QUERY_GFX_PLANE',
  'VFIO_DEVICE_IOEVENTFD',
  'VFIO_DEVICE_FEATURE',
  'VFIO_DEVICE_BIND_IOMMUFD',
];

export const cdevRequests: readonly RequestName[] = [
  'VFIO_DEVICE_ATTACH_IOMMUFD_PT',
  'VFIO_DEVICE_DETACH_IOMMUFD_PT',
];

export const iommufdRequests = (Object.keys(requests) as RequestName[]).filter((name) =>
  name.startsWith('IOMMU_'),
);

export const yes = (because: string): UapiFinding => ({ present: true, because });
const no = (because: string): UapiFinding => ({ present: false, because });
export const unknown = (because: string): UapiFinding => ({ present: null, because });
export const reason = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** What was asked so far, of whichever descriptors there were. */
export class UapiInquiry {
  readonly ioctls = new Findings();
  readonly extensions = new Findings();
  readonly features = new Findings<FeatureFinding>();
  readonly capabilities = new Findings();

  /** Of requests that say EINVAL to a size that is too small. */
  requests(fd: number, names: readonly RequestName[]): void {
    for (const name of names) {
      try {
        const known = knowsRequest(fd, name);
        this.ioctls.note(name, known ? yes('EINVAL to a short struct') : no('ENOTTY'));
      } catch (error) {
        this.ioctls.note(name, unknown(reason(error)));
      }
    }
  }

  container(fd: number): void {
    this.ioctls.note('VFIO_GET_API_VERSION', yes('the container opens'));
    this.ioctls.note('VFIO_CHECK_EXTENSION', yes('the container opens'));
    for (const name of extensions) {
      const answer = checkExtension(fd, uapi().constants[name] as number);
      const because = `CHECK_EXTENSION: ${answer}`;
      this.extensions.note(name, answer > 0 ? yes(because) : no(because));
    }
    for (const [name, extension] of Object.entries(withExtension)) {
      const present = this.extensions.get(extension)!.present;
      const because = `${extension}: ${present ? 1 : 0}`;
      this.ioctls.note(name, present ? unknown(`${because}, not made`) : no(because));
    }
  }

  type1(fd: number): void {
    this.requests(fd, type1Requests);
    const { iovaRanges, migration, dmaAvail } = iommuGetInfo(fd);
    const chain: [string, unknown][] = [
      ['VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE', iovaRanges],
      ['VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION', migration],
      ['VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL', dmaAvail],
    ];
    for (const [name, value] of chain) {
      this.capabilities.note(
        name,
        value === undefined ? no('not in the chain') : yes('in the chain'),
      );
    }
  }

  device(fd: number): void {
    const info = deviceGetInfo(fd);
    this.requests(fd, deviceRequests);
    const resets = (info.flags & c.VFIO_DEVICE_FLAGS_RESET) !== 0;
    const because = `VFIO_DEVICE_FLAGS_RESET is ${resets ? 'set' : 'clear'}`;
    this.ioctls.note('VFIO_DEVICE_RESET', resets ? yes(because) : no(because));
    if (this.ioctls.get('VFIO_DEVICE_QUERY_GFX_PLANE')?.present === false) {
      this.ioctls.note('VFIO_DEVICE_GET_GFX_DMABUF', no('no VFIO_DEVICE_QUERY_GFX_PLANE'));
    }
    for (const [name, feature] of Object.entries(uapi().features)) this.#feature(fd, name, feature);
    this.#preCopy(fd);

    const inDevice = info.capabilities.map(({ id }) => id);
    const inRegions = possibleRegions(info.numRegions).flatMap((index) => regionIds(fd, index));
    this.#chain('VFIO_DEVICE_INFO_CAP_', inDevice);
    this.#chain('VFIO_REGION_INFO_CAP_', inRegions);
  }

  #chain(prefix: string, ids: readonly number[]): void {
    for (const [name, id] of Object.entries(uapi().capabilities)) {
      if (!name.startsWith(prefix)) continue;
      this.capabilities.note(name, ids.includes(id) ? yes('in a chain') : no('in no chain'));
    }
  }

  #feature(fd: number, name: string, feature: number): void {
    const has = (direction: number) => probeFeature(fd, feature, direction);
    try {
      const get = has(c.VFIO_DEVICE_FEATURE_GET);
      const set = has(c.VFIO_DEVICE_FEATURE_SET);
      const directions = [get && 'GET', set && 'SET'].filter((direction) => direction !== false);
      const because = `PROBE: ${directions.join(', ') || 'neither GET nor SET'}`;
      this.features.note(name, { present: get || set, because, get, set });
    } catch (error) {
      this.features.note(name, { ...unknown(reason(error)), get: null, set: null });
    }
  }

  /** A request on the descriptor of a migration, which is not begun for this. */
  #preCopy(fd: number): void {
    const name = 'VFIO_MIG_GET_PRECOPY_INFO';
    if (!this.features.get('VFIO_DEVICE_FEATURE_MIGRATION')?.get) {
      this.ioctls.note(name, no('no VFIO_DEVICE_FEATURE_MIGRATION'));
      return;
    }
    const get = c.VFIO_DEVICE_FEATURE_GET;
    const [flags] = deviceFeature(fd, c.VFIO_DEVICE_FEATURE_MIGRATION, get, new Uint8Array(8));
    const has = (flags! & c.VFIO_MIGRATION_PRE_COPY) !== 0;
    const because = `VFIO_MIGRATION_PRE_COPY is ${has ? 'set' : 'clear'}`;
    this.ioctls.note(name, has ? yes(because) : no(because));
  }
}

function probeFeature(fd: number, feature: number, direction: number): boolean {
  try {
    deviceFeature(fd, feature, direction | c.VFIO_DEVICE_FEATURE_PROBE, new Uint8Array(0));
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOTTY') || isErrno(error, 'EINVAL')) return false;
    throw error;
  }
}

function regionIds(fd: number, index: number): number[] {
  try {
    return deviceGetRegionInfo(fd, index).capabilities.map(({ id }) => id);
  } catch (error) {
    // None of the device's, or counted and then refused (VGA).
    if (isErrno(error, 'EINVAL')) return [];
    throw error;
  }
}
