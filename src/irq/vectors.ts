/** The vectors of one kind of interrupt that are on, and the eventfd that the kernel signals for each. */
import { check, VfioError } from '../errors';
import { VFIO_IRQ_INFO_NORESIZE } from '../ioctl/abi/constants';
import { deviceSetIrqsEventfds, deviceSetIrqsNone, type IrqInfo } from '../ioctl/device';
import { native } from '../native';
import type { IrqEvent } from './event-queue';

interface Bound {
  readonly fd: number;
  /** Made here and watched by the event loop; otherwise it is somebody else's. */
  readonly watched: boolean;
}

export type OnEvent = (event: IrqEvent) => void;

export class VectorTable {
  readonly #deviceFd: number;
  readonly #info: IrqInfo;
  readonly #onEvent: OnEvent;
  readonly #bound = new Map<number, Bound>();
  /** Vectors from 0 that the kernel has allocated: without dynamic MSI-X, there will be no more. */
  #allocated = 0;
  #keepsAlive = true;
  #session = 0;

  constructor(deviceFd: number, info: IrqInfo, onEvent: OnEvent) {
    this.#deviceFd = deviceFd;
    this.#info = info;
    this.#onEvent = onEvent;
  }

  get size(): number {
    return this.#bound.size;
  }

  /** Another one each time that all was turned off: what an event of an earlier one is owed has lapsed. */
  get session(): number {
    return this.#session;
  }

  /** Ascending. */
  get vectors(): number[] {
    return ascending(this.#bound.keys());
  }

  /**
   * Turn on vectors besides those that are on, which go on undisturbed. Each signals an eventfd of its
   * own. After an error, none of them is on.
   * @throws ERR_VFIO_UNSUPPORTED, ERR_VFIO_NO_INTERRUPT, EINVAL, ENOSPC
   */
  add(vectors: readonly number[]): Promise<void> {
    return this.#add(vectors, (vector) => this.#watch(vector));
  }

  /**
   * Turn on a vector that signals the eventfd `target`. One that is on changes to it in one step; after an error,
   * it signals what it did.
   * @throws as `add`, EBADF (no file), EINVAL (no eventfd)
   */
  async handOver(vector: number, target: number): Promise<void> {
    const before = this.#bound.get(vector);
    if (!before) return this.#add([vector], () => foreign(target));
    const now = foreign(target);
    const signal = ({ fd }: Bound) =>
      deviceSetIrqsEventfds(this.#deviceFd, this.#info.index, vector, [fd]);
    try {
      await signal(now);
    } catch (error) {
      // The kernel has let go of the old eventfd before it looked at the new one.
      await signal(before).catch(() => this.remove([vector]));
      throw error;
    }
    this.#forget(vector);
    this.#bound.set(vector, now);
  }

  /** Turn off vectors; those that are left go on undisturbed. What they had signaled is still told. */
  async remove(vectors: readonly number[]): Promise<void> {
    const unwanted = ascending(new Set(vectors)).filter((vector) => this.#bound.has(vector));
    if (unwanted.length === this.#bound.size) return this.clear();
    for (const { start, count } of runs(unwanted)) {
      const none = new Array<number>(count).fill(-1);
      await deviceSetIrqsEventfds(this.#deviceFd, this.#info.index, start, none);
      for (let vector = start; vector < start + count; vector++) this.#forget(vector);
    }
  }

  /** Turn off all, and the kind of interrupt with them. */
  async clear(): Promise<void> {
    if (this.#bound.size === 0) return;
    try {
      await deviceSetIrqsNone(this.#deviceFd, this.#info.index);
    } finally {
      this.#allocated = 0;
      for (const vector of this.vectors) this.#forget(vector);
      this.#session += 1;
    }
  }

  ref(): void {
    this.#keepsAlive = true;
    for (const { fd, watched } of this.#bound.values()) if (watched) native.eventfdRef(fd);
  }

  unref(): void {
    this.#keepsAlive = false;
    for (const { fd, watched } of this.#bound.values()) if (watched) native.eventfdUnref(fd);
  }

  async #add(vectors: readonly number[], eventfd: (vector: number) => Bound): Promise<void> {
    const wanted = ascending(new Set(vectors)).filter((vector) => !this.#bound.has(vector));
    if (wanted.length === 0) return;
    this.#assertResizable(wanted.at(-1)!);
    const added = new Map<number, Bound>();
    try {
      for (const vector of wanted) added.set(vector, eventfd(vector));
      await this.#bind(wanted, added);
    } catch (error) {
      for (const bound of added.values()) closeWatched(bound);
      throw error;
    }
    for (const [vector, bound] of added) this.#bound.set(vector, bound);
  }

  async #bind(vectors: readonly number[], added: ReadonlyMap<number, Bound>): Promise<void> {
    const set = (start: number, fds: number[]) =>
      deviceSetIrqsEventfds(this.#deviceFd, this.#info.index, start, fds);
    if (this.#bound.size === 0) {
      // The first request decides how many vectors there are: it has to reach from 0 to the last.
      const length = vectors.at(-1)! + 1;
      await set(
        0,
        Array.from({ length }, (_, vector) => added.get(vector)?.fd ?? -1),
      );
      this.#allocated = length;
      return;
    }
    // When one of a request's vectors fails, the kernel turns off all of that request: so a request
    // names none that is on already.
    const bound: number[] = [];
    try {
      for (const { start, count } of runs(vectors)) {
        await set(
          start,
          Array.from({ length: count }, (_, i) => added.get(start + i)!.fd),
        );
        bound.push(start);
      }
    } catch (error) {
      for (const { start, count } of runs(vectors)) {
        if (bound.includes(start)) await set(start, new Array<number>(count).fill(-1));
      }
      throw error;
    }
  }

  #watch(vector: number): Bound {
    const fd = native.eventfdOpen((count) => this.#onEvent({ vector, count }));
    check(fd, 'eventfd', { syscall: 'eventfd2' });
    if (!this.#keepsAlive) native.eventfdUnref(fd);
    return { fd, watched: true };
  }

  #forget(vector: number): void {
    const bound = this.#bound.get(vector)!;
    this.#bound.delete(vector);
    if (!bound.watched) return;
    // Signaled, and the event loop has not come round to it yet.
    const count = native.eventfdRead(bound.fd);
    closeWatched(bound);
    if (count > 0) this.#onEvent({ vector, count });
  }

  #assertResizable(last: number): void {
    const fixed = (this.#info.flags & VFIO_IRQ_INFO_NORESIZE) !== 0;
    if (this.#bound.size === 0 || !fixed || last < this.#allocated) return;
    throw new VfioError(
      'ERR_VFIO_UNSUPPORTED',
      `the kernel has allocated ${this.#allocated} vectors and cannot add to them: no vector ${last}`,
      {
        hint: 'name the highest vector that will ever be needed the first time, or disable() before; dynamic MSI-X needs Linux 6.5 and an interrupt controller that has it',
      },
    );
  }
}

function foreign(fd: number): Bound {
  return { fd, watched: false };
}

function closeWatched({ fd, watched }: Bound): void {
  if (watched) native.eventfdClose(fd);
}

function ascending(vectors: Iterable<number>): number[] {
  return [...vectors].sort((a, b) => a - b);
}

interface Run {
  readonly start: number;
  readonly count: number;
}

/** Ascending numbers as stretches without a gap: 0, 1, 2, 5 are 0 + 3 and 5 + 1. */
function runs(vectors: readonly number[]): Run[] {
  const found: { start: number; count: number }[] = [];
  for (const vector of vectors) {
    const last = found.at(-1);
    if (last && last.start + last.count === vector) last.count += 1;
    else found.push({ start: vector, count: 1 });
  }
  return found;
}
