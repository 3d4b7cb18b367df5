/** One kind of interrupt of a device: INTx, MSI, MSI-X, ERR or REQ. */
import { check, closedError, VfioError } from '../errors';
import * as abi from '../ioctl/constants';
import {
  deviceSetIrqsAction,
  deviceSetIrqsEventfds,
  deviceSetIrqsNone,
  type IrqInfo,
} from '../ioctl/device';
import { native } from '../native';
import { EventQueue, type IrqEvent } from './event-queue';

/** Indices of VFIO_DEVICE_GET_IRQ_INFO for PCI. */
export const irqIndices = {
  intx: abi.VFIO_PCI_INTX_IRQ_INDEX,
  msi: abi.VFIO_PCI_MSI_IRQ_INDEX,
  msix: abi.VFIO_PCI_MSIX_IRQ_INDEX,
  err: abi.VFIO_PCI_ERR_IRQ_INDEX,
  req: abi.VFIO_PCI_REQ_IRQ_INDEX,
} as const;

export type IrqKind = keyof typeof irqIndices;

export type IrqListener = (event: IrqEvent) => void | Promise<void>;

export interface IrqOptions {
  /**
   * Who unmasks an interrupt that the kernel masks at each event (INTx): 'auto', once all listeners
   * are done with the event and iterators ask for their next; or 'manual', by `unmask()`.
   */
  readonly unmask?: 'auto' | 'manual';
}

export class Irq implements AsyncIterable<IrqEvent> {
  readonly kind: IrqKind;
  readonly #fd: number;
  readonly #info: IrqInfo;
  /** Eventfd of each enabled vector. */
  readonly #eventfds = new Map<number, number>();
  readonly #listeners = new Set<IrqListener>();
  readonly #queues = new Set<EventQueue>();
  #keepsAlive = true;
  #autoUnmask = false;
  #closed = false;
  /** Enabling and disabling happen one after the other. */
  #last: Promise<void> = Promise.resolve();

  /** Made by the device. `fd` is the device's. */
  constructor(kind: IrqKind, fd: number, info: IrqInfo) {
    this.kind = kind;
    this.#fd = fd;
    this.#info = info;
  }

  /** Vectors that the device has. */
  get count(): number {
    return this.#info.count;
  }

  /** Vectors enabled now, ascending. */
  get enabled(): number[] {
    return [...this.#eventfds.keys()].sort((a, b) => a - b);
  }

  /** Listeners and iterators. */
  get listeners(): number {
    return this.#listeners.size + this.#queues.size;
  }

  /**
   * Enable these vectors and no others. Kinds exclude each other: a device signals by INTx, MSI or
   * MSI-X.
   * @throws ERR_VFIO_INVALID_ARGUMENT for a vector the device does not have, EINVAL if another kind
   * is enabled
   */
  enable(vectors: readonly number[] = [0], options: IrqOptions = {}): Promise<void> {
    return this.#inTurn(() => this.#enable(vectors, options));
  }

  /** Disable all vectors; iterators end. Does nothing if none is enabled. */
  disable(): Promise<void> {
    return this.#inTurn(() => this.#disable());
  }

  /** Call `listener` at each event until the returned function is called. */
  on(listener: IrqListener): () => void {
    this.#assertOpen();
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Events from now on; they end when the interrupt is disabled or the device closed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<IrqEvent> {
    return this.events();
  }

  /** As iterating the interrupt itself; an aborted `signal` rejects the iteration with its reason. */
  events({ signal }: { signal?: AbortSignal } = {}): AsyncIterableIterator<IrqEvent> {
    this.#assertOpen();
    const queue = new EventQueue(signal, () => this.#queues.delete(queue));
    if (!signal?.aborted) this.#queues.add(queue);
    return queue;
  }

  /** Have the kernel signal a vector as if the device had. */
  trigger(vector = 0): void {
    this.#act(abi.VFIO_IRQ_SET_ACTION_TRIGGER, vector);
  }

  /** INTx only. @throws ENOTTY for MSI and MSI-X: they are masked in the device. */
  mask(): void {
    this.#act(abi.VFIO_IRQ_SET_ACTION_MASK, 0);
  }

  unmask(): void {
    this.#act(abi.VFIO_IRQ_SET_ACTION_UNMASK, 0);
  }

  /** Enabled vectors keep the process alive (the default). */
  ref(): void {
    this.#keepsAlive = true;
    for (const eventfd of this.#eventfds.values()) native.eventfdRef(eventfd);
  }

  unref(): void {
    this.#keepsAlive = false;
    for (const eventfd of this.#eventfds.values()) native.eventfdUnref(eventfd);
  }

  /** Called by the device as it closes. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#closed) return;
      this.#closed = true;
      await this.#disable();
      this.#listeners.clear();
    });
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const done = this.#last.then(action);
    this.#last = done.catch(() => {});
    return done;
  }

  async #enable(vectors: readonly number[], { unmask = 'auto' }: IrqOptions): Promise<void> {
    this.#assertOpen();
    for (const vector of vectors) this.#assertVector(vector);
    await this.#disable('keep iterating');
    if (vectors.length === 0) return;

    const automasked = (this.#info.flags & abi.VFIO_IRQ_INFO_AUTOMASKED) !== 0;
    this.#autoUnmask = automasked && unmask === 'auto';
    try {
      for (const vector of new Set(vectors)) this.#eventfds.set(vector, this.#watch(vector));
      const eventfds = Array.from(
        { length: Math.max(...vectors) + 1 },
        (_, vector) => this.#eventfds.get(vector) ?? -1,
      );
      await deviceSetIrqsEventfds(this.#fd, this.#info.index, 0, eventfds);
    } catch (error) {
      this.#closeEventfds();
      throw error;
    }
  }

  async #disable(iterators: 'keep iterating' | 'end' = 'end'): Promise<void> {
    if (this.#eventfds.size > 0) {
      try {
        await deviceSetIrqsNone(this.#fd, this.#info.index);
      } finally {
        this.#closeEventfds();
      }
    }
    if (iterators === 'end') for (const queue of [...this.#queues]) queue.end();
  }

  #closeEventfds(): void {
    for (const eventfd of this.#eventfds.values()) native.eventfdClose(eventfd);
    this.#eventfds.clear();
  }

  #watch(vector: number): number {
    const eventfd = check(
      native.eventfdOpen((count) => this.#dispatch({ vector, count })),
      'eventfd',
      { syscall: 'eventfd2' },
    );
    if (!this.#keepsAlive) native.eventfdUnref(eventfd);
    return eventfd;
  }

  #dispatch(event: IrqEvent): void {
    if (!this.#autoUnmask) {
      for (const queue of this.#queues) queue.push(event);
      for (const listener of this.#listeners) listener(event);
      return;
    }
    let consumers = 1;
    const done = () => {
      consumers -= 1;
      if (consumers === 0 && this.#eventfds.has(event.vector)) this.unmask();
    };
    for (const queue of this.#queues) {
      consumers += 1;
      queue.push(event, done);
    }
    try {
      for (const listener of this.#listeners) {
        const result = listener(event);
        if (result) {
          consumers += 1;
          result.finally(done);
        }
      }
    } finally {
      done();
    }
  }

  #act(action: number, vector: number): void {
    this.#assertOpen();
    this.#assertVector(vector);
    deviceSetIrqsAction(this.#fd, this.#info.index, action, vector, 1);
  }

  #assertVector(vector: number): void {
    if (Number.isInteger(vector) && vector >= 0 && vector < this.count) return;
    throw new VfioError(
      'ERR_VFIO_INVALID_ARGUMENT',
      `${this.kind} has ${this.count} vectors: no vector ${vector}`,
    );
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError(`interrupt ${this.kind}`);
  }
}
