/** One kind of interrupt of a device: INTx, MSI, MSI-X, ERR or REQ. */
import { closedError, isErrno, VfioError } from '../errors';
import * as abi from '../ioctl/abi/constants';
import { deviceSetIrqsAction, deviceSetIrqsUnmaskEventfd, type IrqInfo } from '../ioctl/device';
import { EventQueue, type IrqEvent } from './event-queue';
import type { EventfdHandle } from './eventfd';
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
  readonly #listeners = new Set<IrqListener>();
  readonly #queues = new Set<EventQueue>();
  #autoUnmask = false;
  /** An event came when nobody listened: it stays masked until somebody does. */
  #unheard = false;
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
    return this.#listeners.size + this.#queues.size;
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
  enable(vectors: Vectors = [0], options: IrqOptions = {}): Promise<void> {
    return this.#inTurn(async () => {
      const { unmask = 'auto' } = options;
      const wanted = this.#check(vectors);
      await this.#table.clear();
      const automasked = (this.#info.flags & abi.VFIO_IRQ_INFO_AUTOMASKED) !== 0;
      this.#autoUnmask = automasked && unmask === 'auto';
      this.#unheard = false;
      await this.#table.add(wanted);
      if (typeof unmask === 'object') await this.#unmaskBy(unmask);
    });
  }

  /**
   * Enable more vectors; those enabled already go on undisturbed. After an error, none of the new
   * ones is enabled.
   * @throws as `enable`, and ERR_VFIO_UNSUPPORTED if it is not `resizable`
   */
  add(vectors: Vectors): Promise<void> {
    return this.#inTurn(() => this.#table.add(this.#check(vectors)));
  }

  /**
   * As `add`, for one vector whose interrupts the kernel adds to an eventfd of the caller's (an irqfd
   * of KVM, or read by another process): none of them is seen here. One that is enabled changes hands in
   * one step; after an error, it stays with whoever had it.
   */
  handOver(vector: number, eventfd: EventfdHandle): Promise<void> {
    return this.#inTurn(async () => {
      this.#check([vector]);
      await this.#table.handOver(vector, eventfd);
    });
  }

  /** Disable some vectors; the others go on undisturbed. */
  remove(vectors: Vectors): Promise<void> {
    return this.#inTurn(() => this.#table.remove(this.#check(vectors)));
  }

  /** Disable all vectors; iterators end. Does nothing if none is enabled. */
  disable(): Promise<void> {
    return this.#inTurn(() => this.#disable());
  }

  /** Call `listener` at each event until the returned function is called. */
  on(listener: IrqListener): () => void {
    this.#assertOpen();
    this.#listeners.add(listener);
    this.#heard();
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** The next event. @throws ERR_VFIO_CLOSED if the interrupt is disabled instead */
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

  /** Events from now on; they end when the interrupt is disabled or the device closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<IrqEvent> {
    return this.events();
  }

  /** As iterating the interrupt itself; an aborted `signal` rejects the iteration with its reason. */
  events({ signal }: WaitOptions = {}): AsyncIterableIterator<IrqEvent> {
    this.#assertOpen();
    const queue = new EventQueue(signal, () => this.#queues.delete(queue));
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

  async #unmaskBy({ fd }: EventfdHandle): Promise<void> {
    try {
      await deviceSetIrqsUnmaskEventfd(this.#fd, this.#info.index, fd);
    } catch (error) {
      await this.#table.clear();
      throw error;
    }
  }

  #dispatch(event: IrqEvent): void {
    if (!this.#autoUnmask) {
      this.#tell(event);
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
    for (const listener of this.#listeners) {
      try {
        const result = listener(event);
        if (result && hold) result.finally(hold());
      } catch (error) {
        // An uncaught exception, as in any listener of Node; the others are told all the same.
        setImmediate(() => {
          throw error;
        });
      }
    }
  }

  #heard(): void {
    if (!this.#unheard) return;
    this.#unheard = false;
    // The kernel signals anew what is still pending.
    this.#unmaskAgain();
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

  /** The vectors one by one. */
  #check(vectors: Vectors): number[] {
    this.#assertOpen();
    const list = Array.isArray(vectors) ? vectors : this.#range(vectors as VectorRange);
    for (const vector of list) {
      if (!Number.isInteger(vector) || vector < 0 || vector >= this.count) throw this.#none(vector);
    }
    return list;
  }

  #range({ first, count }: VectorRange): number[] {
    if (!Number.isInteger(count) || count < 1 || count > this.count)
      throw this.#none(first + count);
    return Array.from({ length: count }, (_, i) => first + i);
  }

  #none(vector: number): VfioError {
    return new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `${this.kind} has ${this.count} vectors: no vector ${vector}`,
    );
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError(`interrupt ${this.kind}`);
  }
}

type VectorRange = Exclude<Vectors, readonly number[]>;
