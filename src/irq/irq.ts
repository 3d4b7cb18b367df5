/** One kind of interrupt of a device: INTx, MSI, MSI-X, ERR or REQ. */
import { closedError, invalidArgument, isErrno, VfioError } from '../errors';
import * as abi from '../ioctl/abi/constants';
import { deviceSetIrqsAction, deviceSetIrqsUnmaskEventfd, type IrqInfo } from '../ioctl/device';
import { EventQueue, type IrqEvent } from './event-queue';
import { type EventfdHandle, eventfdOf } from './eventfd';
import { Listeners } from './listeners';
import { VectorTable } from './vectors';

/** Indices of VFIO_DEVICE_GET_IRQ_INFO for PCI. */
export const irqIndices = {
  intx: abi.VFIO_PCI_INTX_IRQ_INDEX,
  msi: abi.VFIO_PCI_MSI_IRQ_INDEX,
  msix: abi.VFIO_PCI_MSIX_IRQ_INDEX,
  err: abi.VFIO_PCI_ERR_IRQ_INDEX,
  req: abi.VFIO_PCI_REQ_IRQ_INDEX,
} as const;

export type IrqKind = keyof typeof irqIndices;

/** A kind, or the index of an interrupt of a device on another bus than PCI. */
export type IrqName = IrqKind | number;

export type IrqListener = (event: IrqEvent) => void | Promise<void>;

/** Vectors by their numbers, or `count` of them from `first` on. */
export type Vectors = readonly number[] | { readonly first: number; readonly count: number };

export interface IrqOptions {
  /**
   * Who unmasks an interrupt that the kernel masks at each event (INTx): 'auto', once all listeners
   * are done with the event and iterators ask for their next; 'manual', by `unmask()`; or whoever
   * writes to this eventfd.
   */
  readonly unmask?: 'auto' | 'manual' | EventfdHandle;
}

export interface WaitOptions {
  /** Once aborted, what waits rejects with its reason. */
  readonly signal?: AbortSignal;
}

export class Irq implements AsyncIterable<IrqEvent> {
  readonly kind: IrqName;
  readonly #fd: number;
  readonly #info: IrqInfo;
  readonly #table: VectorTable;
  readonly #listeners = new Listeners<IrqEvent>();
  readonly #queues = new Set<EventQueue>();
  #autoUnmask = false;
  /** An event came when nobody listened: it stays masked until somebody does. */
  #unheard = false;
  /** Counts of events that came when nobody listened, by vector: for the next who does. */
  readonly #kept = new Map<number, number>();
  #closed = false;
  /** Enabling and disabling happen one after the other. */
  #last: Promise<void> = Promise.resolve();

  /** Made by the device. `fd` is the device's. */
  constructor(kind: IrqName, fd: number, info: IrqInfo) {
    this.kind = kind;
    this.#fd = fd;
    this.#info = info;
    this.#table = new VectorTable(fd, info, (event) => this.#dispatch(event));
  }

  /** Vectors that the device has. */
  get count(): number {
    return this.#info.count;
  }

  /** Vectors enabled now, ascending. */
  get enabled(): number[] {
    return this.#table.vectors;
  }

  /** Listeners and iterators. */
  get listeners(): number {
    return this.#listeners.count + this.#queues.size;
  }

  /** Whether `mask()` and `unmask()` work. Others are masked in the device, in ways of its own. */
  get maskable(): boolean {
    return (this.#info.flags & abi.VFIO_IRQ_INFO_MASKABLE) !== 0;
  }

  /** Whether `add()` can go beyond the highest vector of `enable()`: dynamic MSI-X (Linux 6.5). */
  get resizable(): boolean {
    return (this.#info.flags & abi.VFIO_IRQ_INFO_NORESIZE) === 0;
  }

  /**
   * Enable these vectors and no others. Kinds exclude each other: a device signals by INTx, MSI or
   * MSI-X.
   * @throws ERR_VFIO_INVALID_ARGUMENT for a vector the device does not have, ERR_VFIO_NO_INTERRUPT if
   * the machine has run out of vectors, EINVAL if another kind is enabled
   */
  async enable(vectors: Vectors = [0], { unmask = 'auto' }: IrqOptions = {}): Promise<void> {
    const wanted = this.#check(vectors);
    const unmaskFd = unmask === 'auto' || unmask === 'manual' ? undefined : eventfdOf(unmask);
    await this.#inTurn(async () => {
      this.#assertOpen();
      // What came before all was off is no news any more.
      if (this.#table.size === 0) this.#kept.clear();
      await this.#table.clear();
      const automasked = (this.#info.flags & abi.VFIO_IRQ_INFO_AUTOMASKED) !== 0;
      this.#autoUnmask = automasked && unmask === 'auto';
      this.#unheard = false;
      await this.#table.add(wanted);
      if (unmaskFd !== undefined) await this.#unmaskBy(unmaskFd);
    });
  }

  /**
   * Enable more vectors; those enabled already go on undisturbed. After an error, none of the new
   * ones is enabled.
   * @throws as `enable`, and ERR_VFIO_UNSUPPORTED if it is not `resizable`
   */
  async add(vectors: Vectors): Promise<void> {
    const wanted = this.#check(vectors);
    await this.#inTurn(() => {
      this.#assertOpen();
      return this.#table.add(wanted);
    });
  }

  /**
   * As `add`, for one vector whose interrupts the kernel adds to an eventfd of the caller's (an irqfd
   * of KVM, or read by another process): none of them is seen here. One that is enabled changes hands in
   * one step; after an error, it stays with whoever had it.
   */
  async handOver(vector: number, eventfd: EventfdHandle): Promise<void> {
    this.#check([vector]);
    const fd = eventfdOf(eventfd);
    await this.#inTurn(() => {
      this.#assertOpen();
      return this.#table.handOver(vector, fd);
    });
  }

  /** Disable some vectors; the others go on undisturbed. */
  async remove(vectors: Vectors): Promise<void> {
    const unwanted = this.#check(vectors);
    await this.#inTurn(() => {
      this.#assertOpen();
      return this.#table.remove(unwanted);
    });
  }

  /** Disable all vectors; iterators end. Does nothing if none is enabled. */
  disable(): Promise<void> {
    return this.#inTurn(() => this.#disable());
  }

  /**
   * Call `listener` at each event until the returned function is called; events that came while nobody
   * listened come first.
   * @throws ERR_VFIO_INVALID_ARGUMENT for what is no function
   */
  on(listener: IrqListener): () => void {
    this.#assertOpen();
    const off = this.#listeners.add(listener);
    this.#heard();
    return off;
  }

  /** The next event, or one that came while nobody listened. @throws ERR_VFIO_CLOSED if the interrupt is disabled instead */
  async once(options: WaitOptions = {}): Promise<IrqEvent> {
    const events = this.events(options);
    try {
      const { done, value } = await events.next();
      if (done) throw closedError(`interrupt ${this.kind}`);
      return value;
    } finally {
      await events.return?.();
    }
  }

  /** Events, with those that came while nobody listened; they end when the interrupt is disabled or the device closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<IrqEvent> {
    return this.events();
  }

  /** As iterating the interrupt itself; an aborted `signal` rejects the iteration with its reason. */
  events({ signal }: WaitOptions = {}): AsyncIterableIterator<IrqEvent> {
    this.#assertOpen();
    assertSignal(signal);
    const queue = new EventQueue(signal, (left) => {
      this.#queues.delete(queue);
      // A line that is unmasked again signals again what is still pending.
      if (this.listeners > 0 || this.#autoUnmask) return;
      for (const event of left) this.#keep(event);
    });
    if (signal?.aborted) return queue;
    this.#queues.add(queue);
    this.#heard();
    return queue;
  }

  /** Have the kernel signal `count` vectors from `first` on as if the device had; none that is not enabled. */
  trigger(first = 0, count = 1): void {
    this.#check({ first, count });
    deviceSetIrqsAction(this.#fd, this.#info.index, abi.VFIO_IRQ_SET_ACTION_TRIGGER, first, count);
  }

  /** INTx only. @throws ENOTTY for MSI and MSI-X */
  mask(): void {
    this.#setMask(abi.VFIO_IRQ_SET_ACTION_MASK);
  }

  /** INTx only. An interrupt that is still pending comes at once. @throws ENOTTY for MSI and MSI-X */
  unmask(): void {
    this.#setMask(abi.VFIO_IRQ_SET_ACTION_UNMASK);
  }

  /** Enabled vectors keep the process alive (the default). */
  ref(): void {
    this.#table.ref();
  }

  unref(): void {
    this.#table.unref();
  }

  /** Called by the device as it closes. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#closed) return;
      this.#closed = true;
      this.#listeners.clear();
      this.#kept.clear();
      await this.#disable();
    });
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const done = this.#last.then(action);
    this.#last = done.catch(() => {});
    return done;
  }

  async #disable(): Promise<void> {
    try {
      await this.#table.clear();
    } finally {
      for (const queue of [...this.#queues]) queue.end();
    }
  }

  async #unmaskBy(fd: number): Promise<void> {
    try {
      await deviceSetIrqsUnmaskEventfd(this.#fd, this.#info.index, fd);
    } catch (error) {
      await this.#table.clear();
      throw error;
    }
  }

  #dispatch(event: IrqEvent): void {
    if (!this.#autoUnmask) {
      if (this.listeners > 0) this.#tell(event);
      else this.#keep(event);
      return;
    }
    if (this.listeners === 0) {
      this.#unheard = true;
      return;
    }
    const { session } = this.#table;
    let busy = 1;
    const done = () => {
      busy -= 1;
      if (busy === 0 && session === this.#table.session) this.#unmaskAgain();
    };
    this.#tell(event, () => {
      busy += 1;
      return done;
    });
    done();
  }

  /** `hold` gives, for each that takes longer, what is to be called in the end. */
  #tell(event: IrqEvent, hold?: () => () => void): void {
    for (const queue of this.#queues) queue.push(event, hold?.());
    this.#listeners.tell(event, hold);
  }

  #keep({ vector, count }: IrqEvent): void {
    if (!this.#closed) this.#kept.set(vector, (this.#kept.get(vector) ?? 0) + count);
  }

  #heard(): void {
    // Not before `on` or `events` has returned.
    if (this.#kept.size > 0) queueMicrotask(() => this.#tellKept());
    if (!this.#unheard) return;
    this.#unheard = false;
    // The kernel signals anew what is still pending.
    this.#unmaskAgain();
  }

  #tellKept(): void {
    if (this.listeners === 0) return;
    const events = [...this.#kept].map(([vector, count]) => ({ vector, count }));
    this.#kept.clear();
    for (const event of events) this.#tell(event);
  }

  #unmaskAgain(): void {
    if (this.#closed) return;
    try {
      this.unmask();
    } catch (error) {
      // It has been disabled meanwhile, or is about to be.
      if (!isErrno(error, 'EINVAL')) throw error;
    }
  }

  #setMask(action: number): void {
    this.#assertOpen();
    try {
      deviceSetIrqsAction(this.#fd, this.#info.index, action, 0, 1);
    } catch (error) {
      if (!(error instanceof VfioError) || !isErrno(error, 'ENOTTY')) throw error;
      const { code, message, errno, syscall, ioctl } = error;
      const hint = `VFIO masks INTx only: ${this.kind} is masked in the device, by registers of its own`;
      throw new VfioError(code, message, { errno, syscall, ioctl, hint });
    }
  }

  /** The vectors one by one; the caller's own array may change before their turn comes. */
  #check(vectors: Vectors): number[] {
    this.#assertOpen();
    const list = Array.isArray(vectors) ? [...vectors] : this.#range(vectors as VectorRange);
    for (const vector of list) {
      if (!Number.isInteger(vector) || vector < 0 || vector >= this.count) throw this.#none(vector);
    }
    return list;
  }

  #range(range: VectorRange): number[] {
    if (typeof range !== 'object' || range === null) throw this.#none(range);
    const { first, count } = range;
    if (!Number.isInteger(first)) throw this.#none(first);
    if (!Number.isInteger(count) || count < 1 || count > this.count) {
      throw invalidArgument(`${this.kind} has ${this.count} vectors, not ${String(count)}`);
    }
    return Array.from({ length: count }, (_, i) => first + i);
  }

  #none(vector: unknown): VfioError {
    return invalidArgument(`${this.kind} has ${this.count} vectors: no vector ${String(vector)}`);
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError(`interrupt ${this.kind}`);
  }
}

type VectorRange = Exclude<Vectors, readonly number[]>;

function assertSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw invalidArgument(`not an AbortSignal: ${typeof signal}`);
}
