/** Structs of linux/vfio.h about migration, field by field under their C names. */
import { struct } from './layout';

/** `flags`: VFIO_MIGRATION_*. */
export const vfio_device_feature_migration = struct('vfio_device_feature_migration', {
  flags: 'u64',
});

/** `device_state`: VFIO_DEVICE_STATE_*. */
export const vfio_device_feature_mig_state = struct('vfio_device_feature_mig_state', {
  device_state: 'u32',
  data_fd: 's32',
});

export const vfio_device_feature_mig_data_size = struct('vfio_device_feature_mig_data_size', {
  stop_copy_length: 'u64',
});

/** Of VFIO_MIG_GET_PRECOPY_INFO, a request on the data descriptor. */
export const vfio_precopy_info = struct('vfio_precopy_info', {
  argsz: 'u32',
  flags: 'u32',
  initial_bytes: 'u64',
  dirty_bytes: 'u64',
});

/** Head of the migration region of the first protocol; no kernel since 5.18 has it. */
export const vfio_device_migration_info = struct('vfio_device_migration_info', {
  device_state: 'u32',
  reserved: 'u32',
  pending_bytes: 'u64',
  data_offset: 'u64',
  data_size: 'u64',
});
