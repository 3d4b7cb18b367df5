/** The kernel's interfaces for DMA, as far as it has them, and what tells them apart. */
import { existsSync } from 'node:fs';
import { type AddressSpace, openAddressSpace } from 'vfio';
import { AddressSpace as Space } from '../../src/dma/address-space';
import { Container, IOMMUFD_PATH } from '../../src/dma/container';

export interface Mode {
  readonly name: string;
  readonly open: () => AddressSpace;
  /** Mappings that there is room for, where they are counted. */
  readonly entries?: number;
  /** How a BAR of another device is mapped. */
  readonly bars: 'by address' | 'by dma-buf' | 'not';
  /** Whether there is dirty tracking without an IOMMU for it: all that is pinned counts. */
  readonly tracksPinned: boolean;
  /** Whether mappings can get another process address. */
  readonly updatesVaddr: boolean;
}

const containers: Mode[] = (['type1v2', 'type1'] as const).map((iommu) => ({
  name: iommu,
  open: () => openAddressSpace({ backend: 'group', iommu }),
  entries: 65535,
  bars: 'by address',
  tracksPinned: iommu === 'type1v2',
  updatesVaddr: true,
}));

const iommufd: Mode[] = [
  {
    name: 'iommufd as a container',
    open: () => new Space(Container.open(undefined, IOMMUFD_PATH)),
    bars: 'not',
    tracksPinned: false,
    updatesVaddr: false,
  },
  {
    name: 'iommufd',
    open: () => openAddressSpace({ backend: 'iommufd' }),
    bars: 'by dma-buf',
    tracksPinned: false,
    updatesVaddr: false,
  },
];

export const hasIommufd = existsSync(IOMMUFD_PATH);

/** Containers are the same in every kernel, so they are tried on the one without iommufd. */
export const dmaModes: readonly Mode[] = hasIommufd ? iommufd : containers;
