/**
 * Stands in for src/native.ts: devices that can be migrated, each behind one descriptor. Their data is in
 * files, so that reads and writes of it are real. Before the end of a change of state, `hold` may wait.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { VFIO_DEVICE_FEATURE_MASK, VFIO_DEVICE_FEATURE_SET } from '../../src/ioctl/abi/constants';
import * as f from '../../src/ioctl/abi/feature-constants';
import * as abi from '../../src/ioctl/abi/migration-constants';
import * as m from '../../src/ioctl/abi/migration-structs';
import { requests } from '../../src/ioctl/abi/requests';
import { vfio_device_feature } from '../../src/ioctl/abi/structs';
import type { NativeAddon } from '../../src/native';

/** Descriptors of devices: no file of this process is near. */
const FIRST_FD = 1_000_000;
const { EBADF, EINVAL, ENOTTY } = constants.errno;
const S = {
  stop: abi.VFIO_DEVICE_STATE_STOP,
  running: abi.VFIO_DEVICE_STATE_RUNNING,
  stopCopy: abi.VFIO_DEVICE_STATE_STOP_COPY,
  resuming: abi.VFIO_DEVICE_STATE_RESUMING,
  preCopy: abi.VFIO_DEVICE_STATE_PRE_COPY,
};

export class FakeMigration {
  /** What the device gives while it runs, and in all. */
  readonly early = Buffer.from('early;');
  readonly whole = Buffer.from('early;late.');
  readonly flags: number;
  readonly fd = FIRST_FD + booted.length;
  state = S.running;
  /** States that were asked for, in the order that they were reached or refused. */
  readonly asked: number[] = [];
  /** The way to a state fails with an errno, and ends in another state. */
  readonly failures = new Map<number, { errno: number; reached: number }>();
  hold: (state: number) => Promise<void> = async () => {};
  /** Whether the kernel has feature 12, and whether it was asked for. */
  precopyInfo2: 'absent' | 'off' | 'on' = 'off';
  closed = false;
  readonly #directory = mkdtempSync(join(tmpdir(), 'vfio-migration-'));
  readonly #dataFds = new Set<number>();

  constructor(
    flags = abi.VFIO_MIGRATION_STOP_COPY | abi.VFIO_MIGRATION_P2P | abi.VFIO_MIGRATION_PRE_COPY,
  ) {
    this.flags = flags;
  }

  /** Data descriptors that nobody closed. */
  get left(): number {
    return this.#dataFds.size;
  }

  /** What it was given while resuming. */
  get received(): string {
    return readFileSync(this.#file('in'), 'latin1');
  }

  has(fd: number): boolean {
    return fd === this.fd || this.#dataFds.has(fd);
  }

  reset = async (): Promise<void> => {
    this.state = S.running;
  };

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  readonly native: Partial<NativeAddon> = {
    close: (fd) => {
      if (!this.#dataFds.delete(fd)) return -EBADF;
      closeSync(fd);
      return 0;
    },
    ioctlStruct: (fd, request, bytes) => this.#ioctl(fd, request, bytes as Uint8Array<ArrayBuffer>),
    ioctlStructAsync: async (fd, request, bytes) => {
      const { arg, data } = view(bytes as Uint8Array<ArrayBuffer>);
      const setsState =
        arg.flags === (VFIO_DEVICE_FEATURE_SET | f.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
      if (!setsState) return this.#ioctl(fd, request, bytes as Uint8Array<ArrayBuffer>);
      const state = m.vfio_device_feature_mig_state.view(data);
      await this.hold(state.device_state);
      const opened = this.#goTo(state.device_state);
      if (opened >= 0) state.data_fd = opened;
      return opened < -1 ? opened : 0;
    },
  };

  #ioctl(fd: number, request: number, bytes: Uint8Array<ArrayBuffer>): number {
    if (this.closed) return -EBADF;
    if (request === requests.VFIO_MIG_GET_PRECOPY_INFO) {
      if (this.state !== S.preCopy || !this.#dataFds.has(fd)) return -EINVAL;
      m.vfio_precopy_info.view(bytes).flags =
        this.precopyInfo2 === 'on' ? abi.VFIO_PRECOPY_INFO_REINIT : 0;
      return 0;
    }
    if (fd !== this.fd || request !== requests.VFIO_DEVICE_FEATURE) return -ENOTTY;
    const { arg, data } = view(bytes);
    switch (arg.flags & VFIO_DEVICE_FEATURE_MASK) {
      case f.VFIO_DEVICE_FEATURE_MIGRATION:
        if (this.flags === 0) return -ENOTTY;
        m.vfio_device_feature_migration.view(data).flags = BigInt(this.flags);
        return 0;
      case f.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
        m.vfio_device_feature_mig_state.view(data).device_state = this.state;
        return 0;
      case f.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
        m.vfio_device_feature_mig_data_size.view(data).stop_copy_length = BigInt(this.whole.length);
        return 0;
      case f.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
        if (this.precopyInfo2 === 'absent') return -ENOTTY;
        this.precopyInfo2 = 'on';
        return 0;
      default:
        return -ENOTTY;
    }
  }

  /** A data descriptor, -1 for none, or a negative errno (none is 1, EPERM, here). */
  #goTo(state: number): number {
    this.asked.push(state);
    const failure = this.failures.get(state);
    if (failure) {
      this.failures.delete(state);
      this.state = failure.reached;
      return -failure.errno;
    }
    const from = this.state;
    this.state = state;
    if (state === S.preCopy) return this.#give(this.early);
    if (state === S.stopCopy && from !== S.preCopy) return this.#give(this.whole);
    // The same descriptor goes on: what was read stays read.
    if (state === S.stopCopy) writeFileSync(this.#file('out'), this.whole);
    return state === S.resuming ? this.#opened(openSync(this.#file('in'), 'w')) : -1;
  }

  #give(bytes: Uint8Array): number {
    writeFileSync(this.#file('out'), bytes);
    return this.#opened(openSync(this.#file('out'), 'r'));
  }

  #opened(fd: number): number {
    this.#dataFds.add(fd);
    return fd;
  }

  #file(name: string): string {
    return join(this.#directory, name);
  }
}

function view(bytes: Uint8Array<ArrayBuffer>) {
  return { arg: vfio_device_feature.view(bytes), data: bytes.subarray(vfio_device_feature.size) };
}

const booted: FakeMigration[] = [];

export function bootFakeMigration(flags?: number): FakeMigration {
  const fake = new FakeMigration(flags);
  booted.push(fake);
  return fake;
}

type OfDescriptor = (fd: number, ...rest: unknown[]) => unknown;

/** Calls go to the device whose descriptor they name. */
export const native = new Proxy({} as NativeAddon, {
  get: (_, name: keyof NativeAddon) => {
    const call: OfDescriptor = (fd, ...rest) => {
      const fake = booted.find((one) => one.has(fd));
      return fake ? (fake.native[name] as OfDescriptor)(fd, ...rest) : -EBADF;
    };
    return call;
  },
});
