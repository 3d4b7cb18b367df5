/** Live migration of a device: its states, and its state as a stream. */
import type { Readable, Writable } from 'node:stream';
import { isErrno, VfioError } from '../../errors';
import { VFIO_MIGRATION_P2P, VFIO_MIGRATION_PRE_COPY } from '../../ioctl/abi/migration-constants';
import * as ioctl from '../../ioctl/migration';
import { MigrationData } from './data';
import { type LoadOptions, LoadStream } from './load-stream';
import { type MoveOptions, move } from './move';
import { type SaveOptions, SaveStream } from './save-stream';
import {
  assertArc,
  type MigrationCapabilities,
  type MigrationState,
  nextStates,
  stateName,
  stateNumber,
} from './states';

export class Migration {
  readonly capabilities: MigrationCapabilities;
  readonly #device: string;
  readonly #fd: () => number;
  readonly #reset: () => Promise<void>;
  readonly #isolated: () => boolean;
  readonly #open = new Set<MigrationData>();
  /** Changes of state happen one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Made by the device. `fd` throws ERR_VFIO_CLOSED once the device is closed; `isolated`: whether an
   * IOMMU confines its DMA.
   * @throws ERR_VFIO_UNSUPPORTED if it cannot be migrated
   */
  constructor(
    device: string,
    fd: () => number,
    reset: () => Promise<void>,
    isolated: () => boolean,
  ) {
    this.#device = device;
    this.#fd = fd;
    this.#reset = reset;
    this.#isolated = isolated;
    const flags = migrationFlags(device, fd());
    this.capabilities = {
      p2p: (flags & VFIO_MIGRATION_P2P) !== 0,
      preCopy: (flags & VFIO_MIGRATION_PRE_COPY) !== 0,
    };
    if (this.capabilities.preCopy) tellOfNewInitialData(fd());
  }

  get state(): MigrationState {
    return stateName(ioctl.deviceFeatureMigStateGet(this.#fd()));
  }

  /** The states that `setState` takes now. */
  get nextStates(): MigrationState[] {
    return nextStates(this.state, this.capabilities);
  }

  /**
   * Put the device into a state; the kernel goes by way of those between. Into stop-copy (unless from
   * a pre-copy state, whose data goes on), pre-copy and resuming, it resolves to the data, to be closed
   * by the caller. Does nothing if the device is in it already. Waits for changes of state asked for before.
   * @throws ERR_VFIO_MIGRATION_STATE for an arc that does not exist, ERR_VFIO_UNSUPPORTED for resuming
   * without an IOMMU, both before the kernel is asked; else what the driver makes of the data it was given: EINVAL, EFAULT, ENOMEM
   */
  setState(state: MigrationState): Promise<MigrationData | undefined> {
    return this.#inTurn(() => this.#goTo(state));
  }

  /** About how many bytes the device has to give once it has stopped. @throws ENOTTY before Linux 6.2 */
  dataSize(): Promise<number> {
    return this.#inTurn(async () => Number(await ioctl.deviceFeatureMigDataSize(this.#fd())));
  }

  /**
   * The device's state, as a stream of bytes that only the same driver understands. A running device
   * gives what it can while it runs (pre-copy), is stopped, and gives the rest. Once the stream has
   * ended it is stopped; if the stream is destroyed before (an error, a signal), even with nothing left
   * to read from the device, it is as it was: running, or stopped.
   */
  saveState(options: SaveOptions = {}): Readable {
    return new SaveStream(this, options);
  }

  /**
   * Where a stream of saveState goes; its bytes command all that the device can do, DMA included, so
   * take them from nobody else. Finished, the device runs, or is in `options.finalState`; after an error
   * it was reset and runs as if new.
   */
  loadState(options: LoadOptions = {}): Writable {
    return new LoadStream(this, options);
  }

  /**
   * Move the device's state to another device of this process: this one is stopped then, and the other
   * runs, or is in `options.finalState`. If that fails, even by the other refusing all that it was given,
   * this one is as it was, running or stopped, and the other was reset: both by the time it rejects.
   * @throws what the driver makes of the data, ERR_VFIO_MIGRATION_STATE, the reason of `options.signal`
   */
  moveTo(target: Migration, options: MoveOptions = {}): Promise<void> {
    return move(this, target, options);
  }

  /** Out of every state, error too: the device is reset, and runs. */
  recover(): Promise<void> {
    return this.#inTurn(async () => {
      this.#fd();
      await this.#closeData();
      await this.#reset();
    });
  }

  /** Called by the device as it closes: what is under way ends first. */
  close(): Promise<void> {
    return this.#inTurn(() => this.#closeData());
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(change);
    this.#last = result.catch(() => {});
    return result;
  }

  async #goTo(state: MigrationState): Promise<MigrationData | undefined> {
    const from = this.state;
    assertArc(this.#device, from, state, this.capabilities);
    if (state === 'resuming') this.#assertIsolated();
    const number = stateNumber(state);
    const fd = await ioctl.deviceFeatureMigStateSet(this.#fd(), number).catch((error) => {
      throw this.#explain(error, from, state);
    });
    if (fd === undefined) return undefined;
    const data = new MigrationData(fd, (closed) => this.#open.delete(closed));
    this.#open.add(data);
    return data;
  }

  async #closeData(): Promise<void> {
    await Promise.all([...this.#open].map((data) => data.close()));
  }

  /** What comes in can command any DMA. */
  #assertIsolated(): void {
    if (this.#isolated()) return;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `no IOMMU confines ${this.#device}`, {
      device: this.#device,
      hint: 'state that it takes over can have it write to all memory: only a device behind an IOMMU can resume',
    });
  }

  /** For messages: a device that was just unplugged tells nothing. */
  #stateNow(): MigrationState | 'an unknown state' {
    try {
      return this.state;
    } catch {
      return 'an unknown state';
    }
  }

  #explain(error: unknown, from: MigrationState, to: MigrationState): unknown {
    if (!(error instanceof VfioError)) return error;
    const { code, errno, syscall, ioctl } = error;
    const reached = this.#stateNow();
    const what = `${this.#device} went from ${from} to ${reached} and not to ${to}: ${code}`;
    const hint =
      from === 'resuming'
        ? 'the driver does not take the data that it was given: part of it is missing, or it is of another device or version; recover() resets the device'
        : 'recover() resets the device';
    return new VfioError(code, what, {
      errno,
      syscall,
      ioctl,
      device: this.#device,
      hint,
      cause: error,
    });
  }
}

function migrationFlags(device: string, fd: number): number {
  try {
    return ioctl.deviceFeatureMigration(fd);
  } catch (error) {
    if (!isErrno(error, 'ENOTTY')) throw error;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `${device} cannot be migrated`, {
      device,
      hint: "it takes a driver that knows the device's state (a variant such as mlx5_vfio_pci), not vfio-pci",
      cause: error,
    });
  }
}

/** Feature 12: without it, `reinitialized` of pre-copy information says nothing. */
function tellOfNewInitialData(fd: number): void {
  try {
    ioctl.deviceFeatureMigPrecopyInfo2(fd);
  } catch (error) {
    // Before Linux 7.2.
    if (!isErrno(error, 'ENOTTY')) throw error;
  }
}
