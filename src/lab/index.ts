export {
  type CommandOptions,
  guestEnvironment,
  type TerminalSize,
} from './commands/command-options';
export type { LabCommand, LabExit } from './commands/lab-command';
export { LabError, type LabErrorCode } from './errors';
export { findLabKernel, type LabKernel } from './kernel/cache';
export { buildLabKernel, type LabKernelOptions } from './kernel/setup';
export { type Lab, startLab } from './lab';
export { DEFAULT_DEVICES, presetNames } from './machine/devices';
export { iommuKinds } from './machine/iommu';
export { QmpClient, QmpError, type QmpEvent } from './machine/qmp';
export type { LabOptions } from './options';
export { cacheDirectory } from './paths';
export { type AttachedLab, attachLab } from './running/attach';
export { listLabs, type RunningLab } from './running/registry';
export { type LabTools, prepareLab, type SetupOptions } from './setup';
