export { Device } from './device/device';
export { type OpenOptions, openDevice } from './device/open';
export { Region, type RegionName } from './device/region';
export {
  defineRegisters,
  type Register,
  type RegisterAccess,
  type RegisterMap,
  Registers,
} from './device/registers';
export type { AddressSpace } from './dma/address-space';
export type { BackendName, DmaAccess } from './dma/backend';
export type { DmaBuffer } from './dma/buffer';
export type { Progress } from './dma/chunks';
export type { DirtyBitmap } from './dma/dirty-bitmap';
export type { DirtyTracker } from './dma/dirty-tracker';
export type { IovaConstraints } from './dma/iova-allocator';
export type { DmaMapping } from './dma/mapping';
export type { HugePageSize, HugePages } from './dma/memory';
export { type AddressSpaceOptions, openAddressSpace } from './dma/open';
export type {
  AllocOptions,
  DmaUsage,
  MapOptions,
  PeerOptions,
  PeerRegion,
} from './dma/options';
export type { DmaPool, PoolBuffer, PoolOptions } from './dma/pool';
export { VfioError, type VfioErrorCode, type VfioErrorDetails } from './errors';
export type { IovaRange } from './ioctl/container';
export type { IrqEvent } from './irq/event-queue';
export { Irq, type IrqKind, type IrqListener, type IrqOptions } from './irq/irq';
export { parseBdf } from './pci/address';
export { type Binding, bindDriver } from './pci/bind';
export { type GroupMember, iommuGroupMembers } from './pci/iommu-group';
export { Sriov } from './pci/sriov';
export { type PciDevice, readPciDevice } from './pci/sysfs';
