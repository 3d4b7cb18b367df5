import { existsSync } from 'node:fs';
import { shown, VfioError } from '../errors';
import { GivenFd } from '../given-fd';
import { AddressSpace } from './address-space';
import type { DmaBackend } from './backend';
import { Container, IOMMUFD_PATH, type IommuType, iommufdAccounting } from './container';
import { Ioas } from './ioas';
import type { MemlockAccounting } from './memlock';

export interface AddressSpaceOptions {
  /**
   * The kernel's interface; 'auto' is that of `fd`, or else iommufd where /dev/iommu exists. Devices are
   * opened by the same.
   */
  readonly backend?: 'auto' | 'group' | 'iommufd';
  /** Of a container: 'type1v2' where the kernel has it. 'noiommu' takes `unsafe` as well. */
  readonly iommu?: IommuType;
  /** Without an IOMMU: devices reach all memory, addresses are physical. Root only; taints the kernel. */
  readonly unsafe?: 'noiommu';
  /** Of iommufd. 'single': the IOMMU maps in its smallest pages, which tells dirty pages apart; 'largest' unless given. */
  readonly ioPages?: 'largest' | 'single';
  /** Of iommufd: whose locked memory is limited, the user's (unless given) or the process'. Takes CAP_SYS_RESOURCE. */
  readonly accounting?: MemlockAccounting;
  /** An open /dev/vfio/vfio or /dev/iommu, for a process without the right to open it. It is duplicated: yours stays yours. */
  readonly fd?: number;
}

/**
 * An address space for several devices: `openDevice(bdf, { addressSpace })`. One of a container is
 * ready for mappings once its first device is open, one of iommufd at once.
 * @throws ERR_VFIO_UNAVAILABLE, EACCES, ERR_VFIO_INVALID_ARGUMENT (also for an `fd` of another kind of file)
 */
export function openAddressSpace(options: AddressSpaceOptions = {}): AddressSpace {
  if (typeof options !== 'object' || options === null) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `options of a space: ${shown(options)}`);
  }
  const given = options.fd === undefined ? undefined : new GivenFd(options.fd);
  try {
    return new AddressSpace(openKernelSpace(options, given));
  } finally {
    given?.[Symbol.dispose]();
  }
}

const choices: { readonly [name in keyof AddressSpaceOptions]: readonly unknown[] } = {
  backend: ['auto', 'group', 'iommufd'],
  iommu: ['type1v2', 'type1', 'noiommu'],
  unsafe: ['noiommu'],
  ioPages: ['largest', 'single'],
  accounting: ['user', 'process'],
};

function openKernelSpace(options: AddressSpaceOptions, given: GivenFd | undefined): DmaBackend {
  const { backend = 'auto', unsafe, iommu = unsafe } = options;
  for (const [name, values] of Object.entries(choices)) {
    const value = options[name as keyof typeof choices];
    if (value === undefined || values.includes(value)) continue;
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `option ${name} of an address space: ${shown(value)}`,
      { hint: `one of ${values.join(', ')}` },
    );
  }
  if (iommu === 'noiommu' && !unsafe) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'noiommu is unsafe', {
      hint: "devices then reach all memory; if that is wanted: { unsafe: 'noiommu' }",
    });
  }
  // A descriptor says what it is, whether or not the nodes are there.
  const isIommufd = () => (given ? iommufdAccounting(given.fd) : existsSync(IOMMUFD_PATH));
  const iommufd = backend === 'auto' ? iommu === undefined && isIommufd() : backend === 'iommufd';
  if (iommufd) return given ? Ioas.from(given.take(), options) : Ioas.open(options);
  for (const name of ['ioPages', 'accounting'] as const) {
    if (options[name] === undefined) continue;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `a container has no option ${name}`, {
      hint: "it takes iommufd: openAddressSpace({ backend: 'iommufd' })",
    });
  }
  return given ? Container.from(given.take(), iommu) : Container.open(iommu);
}
