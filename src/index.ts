export { AttachedRegion, attachRegion, type SharedRegion } from './device/attached-region';
export { Device } from './device/device';
export type { DmaLogging } from './device/dma-logging';
export type { FeatureName, FeatureSupport } from './device/features';
export type { Gfx, GfxPlane, GfxPlaneName, GfxWay } from './device/gfx';
export type { AffectedDevice } from './device/hot-reset';
export type { Ioeventfd, IoeventfdOptions } from './device/ioeventfd';
export type { LowPower, LowPowerOptions } from './device/low-power';
export { createMdev, type MdevType, mdevTypes, removeMdev } from './device/mdev';
export type { MigrationData } from './device/migration/data';
export type { LoadOptions } from './device/migration/load-stream';
export type { Migration } from './device/migration/migration';
export type { MoveOptions } from './device/migration/move';
export type { SaveOptions } from './device/migration/save-stream';
export type { MigrationCapabilities, MigrationState } from './device/migration/states';
export { type OpenOptions, openDevice } from './device/open';
export { Region, type RegionName } from './device/region';
export type { RegionSummary } from './device/region-list';
export {
  defineRegisters,
  type Register,
  type RegisterAccess,
  type RegisterMap,
  Registers,
} from './device/registers';
export type { FeatureFinding, UapiFinding } from './device/uapi-findings';
export { probeUapi, type UapiProbe } from './device/uapi-probe';
export type { AddressSpace } from './dma/address-space';
export type { ArenaAllocOptions, ArenaBuffer, ArenaOptions, DmaArena } from './dma/arena';
export {
  AttachedMemory,
  attachMemory,
  type MemoryPiece,
  type SharedMemoryId,
} from './dma/attached-memory';
export type { BackendName, DmaAccess } from './dma/backend';
export type { DmaBuffer } from './dma/buffer';
export type { Progress } from './dma/chunks';
export type { DirtyBitmap } from './dma/dirty-bitmap';
export type { DirtyTracker } from './dma/dirty-tracker';
export type { IovaConstraints } from './dma/iova-allocator';
export type { DmaMapping, IovaSpan, PagedSpan } from './dma/mapping';
export type { HugePageSize, HugePages } from './dma/memory';
export { type AddressSpaceOptions, openAddressSpace } from './dma/open';
export type {
  AllocOptions,
  DmaUsage,
  MapOptions,
  PeerOptions,
} from './dma/options';
export type { PeerRegion } from './dma/peer-region';
export { type DmaPool, POOL_OUT, type PoolBuffer, type PoolOptions } from './dma/pool';
export { VfioError, type VfioErrorCode, type VfioErrorDetails } from './errors';
export type { IovaRange } from './ioctl/container';
export type { IommuHwInfo } from './ioctl/iommufd';
export type { PrecopyInfo } from './ioctl/migration';
export type { IrqEvent } from './irq/event-queue';
export { Eventfd, type EventfdHandle, EventfdWatch } from './irq/eventfd';
export type {
  Irq,
  IrqKind,
  IrqListener,
  IrqName,
  IrqOptions,
  Vectors,
  WaitOptions,
} from './irq/irq';
export { parseBdf } from './pci/address';
export { type Binding, bindDriver } from './pci/binding/bind-transaction';
export {
  type Capability,
  type CapabilityKind,
  type CapabilityOf,
  type CapabilityPlace,
  type ConfigSpace,
  decodeConfigSpace,
  type ExtendedCapability,
  findCapability,
} from './pci/config/decode';
export type { ExpressPortType } from './pci/config/express';
export type { BridgeWindow, ConfigBar, ConfigHeader, ExpansionRom } from './pci/config/header';
export { readConfigBytes, readConfigSpace } from './pci/config/read';
export type { ConfigProblem } from './pci/config/walk';
export { type GroupMember, iommuGroupMembers } from './pci/iommu-group';
export { resetMethods } from './pci/reset-methods';
export { Sriov } from './pci/sriov';
export { type PciDevice, readPciDevice } from './pci/sysfs';
