/** Features of VFIO_DEVICE_FEATURE about migration, and the request on its data descriptor. */
import { VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_SET } from './abi/constants';
import * as f from './abi/feature-constants';
import type { FieldTypes, Struct } from './abi/layout';
import { VFIO_PRECOPY_INFO_REINIT } from './abi/migration-constants';
import * as m from './abi/migration-structs';
import { vfio_device_feature } from './abi/structs';
import { callStruct, callStructAsync, callStructFdAsync } from './call';

function feature<F extends FieldTypes>(flags: number, layout: Struct<F>) {
  const arg = vfio_device_feature.create(layout.size);
  arg.flags = flags;
  return { arg, data: layout.view(arg.bytes.subarray(vfio_device_feature.size)) };
}

/** Feature 1: VFIO_MIGRATION_*. @throws ENOTTY if the device cannot be migrated */
export function deviceFeatureMigration(fd: number): number {
  const flags = VFIO_DEVICE_FEATURE_GET | f.VFIO_DEVICE_FEATURE_MIGRATION;
  const { arg, data } = feature(flags, m.vfio_device_feature_migration);
  callStruct(fd, 'VFIO_DEVICE_FEATURE', arg);
  return Number(data.flags);
}

/** Feature 2: VFIO_DEVICE_STATE_*. */
export function deviceFeatureMigStateGet(fd: number): number {
  const flags = VFIO_DEVICE_FEATURE_GET | f.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
  const { arg, data } = feature(flags, m.vfio_device_feature_mig_state);
  callStruct(fd, 'VFIO_DEVICE_FEATURE', arg);
  return data.device_state;
}

/**
 * Feature 2: go to a state, by way of those between. Where a stream of data begins (PRE_COPY,
 * STOP_COPY from STOP, RESUMING), its descriptor, which the caller owns. On the thread pool.
 * @throws EINVAL, and whatever the driver makes of the data that it was given; the state is to be read again
 */
export async function deviceFeatureMigStateSet(
  fd: number,
  state: number,
): Promise<number | undefined> {
  const flags = VFIO_DEVICE_FEATURE_SET | f.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
  const { arg, data } = feature(flags, m.vfio_device_feature_mig_state);
  data.device_state = state;
  data.data_fd = -1;
  const fdAt = vfio_device_feature.size + m.vfio_device_feature_mig_state.fields.data_fd.offset;
  await callStructFdAsync(fd, 'VFIO_DEVICE_FEATURE', arg, fdAt);
  return data.data_fd < 0 ? undefined : data.data_fd;
}

/** Feature 9: how many bytes STOP_COPY is expected to give. */
export async function deviceFeatureMigDataSize(fd: number): Promise<bigint> {
  const flags = VFIO_DEVICE_FEATURE_GET | f.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
  const { arg, data } = feature(flags, m.vfio_device_feature_mig_data_size);
  await callStructAsync(fd, 'VFIO_DEVICE_FEATURE', arg);
  return data.stop_copy_length;
}

/** Feature 12: have migPrecopyInfo tell when initial data has come anew (Linux 7.2). @throws ENOTTY */
export function deviceFeatureMigPrecopyInfo2(fd: number): void {
  const arg = vfio_device_feature.create();
  arg.flags = VFIO_DEVICE_FEATURE_SET | f.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2;
  callStruct(fd, 'VFIO_DEVICE_FEATURE', arg);
}

export interface PrecopyInfo {
  /** Bytes that the other side should have before the device stops. */
  readonly initialBytes: bigint;
  /** Bytes of what has changed since it was read. */
  readonly dirtyBytes: bigint;
  /** There is new initial data; told only after feature 12. */
  readonly reinitialized: boolean;
}

/** VFIO_MIG_GET_PRECOPY_INFO, on the data descriptor. @throws EINVAL in other states than PRE_COPY and PRE_COPY_P2P */
export function migGetPrecopyInfo(dataFd: number): PrecopyInfo {
  const arg = m.vfio_precopy_info.create();
  callStruct(dataFd, 'VFIO_MIG_GET_PRECOPY_INFO', arg);
  return {
    initialBytes: arg.initial_bytes,
    dirtyBytes: arg.dirty_bytes,
    reinitialized: (arg.flags & VFIO_PRECOPY_INFO_REINIT) !== 0,
  };
}
