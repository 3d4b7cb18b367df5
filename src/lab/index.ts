export { DEFAULT_DEVICES, presetNames } from './devices';
export { LabError, type LabErrorCode } from './errors';
export { findLabKernel, type LabKernel } from './kernel-cache';
export { buildLabKernel, type LabKernelOptions } from './kernel-setup';
export { Lab, type LabExit, startLab } from './lab';
export { guestEnvironment, type LabOptions } from './options';
export { QmpClient, QmpError, type QmpEvent } from './qmp';
export { prepareLab } from './setup';
