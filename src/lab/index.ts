export { LabError, type LabErrorCode } from './errors';
export { findLabKernel, type LabKernel } from './kernel/cache';
export { buildLabKernel, type LabKernelOptions } from './kernel/setup';
export { Lab, type LabExit, startLab } from './lab';
export { DEFAULT_DEVICES, presetNames } from './machine/devices';
export { QmpClient, QmpError, type QmpEvent } from './machine/qmp';
export { guestEnvironment, type LabOptions } from './options';
export { cacheDirectory } from './paths';
export { prepareLab } from './setup';
