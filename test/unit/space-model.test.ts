/**
 * Random operations on an address space, many at once: the kernel, the allocator and the objects that the
 * caller holds agree whenever nothing is under way, and the kernel is never asked for what it must refuse.
 */
import fc from 'fast-check';
import { AddressSpace } from '../../src/dma/address-space';
import { DmaBuffer } from '../../src/dma/buffer';
import { DmaMapping } from '../../src/dma/mapping';
import { times } from '../fixtures/scale';
import { CheckingKernel, PAGES } from './checking-kernel';
import type { FakeKernel } from './fake-kernel';
import { bootFakeKernel } from './fake-native';

jest.mock('../../src/native', () => require('./fake-native'));

const PAGE = 4096;
const RUNS = times(50, 3000);

/** What an operation may end in: refusals that follow from what runs beside it, or that were injected. */
const expected = new Set([
  ...['ENOMEM', 'EIO', 'EBUSY', 'EINVAL', 'ENOENT', 'ABORT_ERR'],
  ...['ERR_VFIO_CLOSED', 'ERR_VFIO_IOVA_SPACE', 'ERR_VFIO_IOVA_TAKEN', 'ERR_VFIO_INVALID_ARGUMENT'],
]);

function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Model {
  readonly #memory: FakeKernel;
  readonly #random: () => number;
  readonly #kernel: CheckingKernel;
  readonly #space: AddressSpace;
  readonly #held = new Set<DmaBuffer | DmaMapping>();
  /** Unmapped by dirty.last(): their memory is still there. */
  readonly #ended = new Set<DmaBuffer | DmaMapping>();
  readonly #running = new Set<Promise<void>>();
  readonly #member = {};

  constructor(seed: number, refusals: number) {
    this.#memory = bootFakeKernel();
    this.#random = randomFrom(seed);
    this.#kernel = new CheckingKernel(this.#random, this.#memory, refusals);
    this.#space = new AddressSpace(this.#kernel);
  }

  async run(): Promise<void> {
    await this.#space.join(this.#member, this.#kernel.attach);
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 16; i++) {
        this.#begin();
        if (this.#random() < 0.4) await this.#progress();
      }
      await this.#settle();
      await this.#agree();
    }
    for (let i = 0; i < 6; i++) this.#begin();
    const closing = this.#space.close();
    closing.catch(() => {});
    for (let i = 0; i < 6; i++) this.#begin();
    await this.#settle();
    await this.#space.leave(this.#member, this.#kernel.detach);
    await closing.catch((error) => this.#note(error));
    expect(this.#kernel.closed).toBe(true);
    this.#noFaults();
    expect([...this.#held].filter((held) => !held.closed && !this.#ended.has(held))).toEqual([]);
    for (const held of this.#held) await held.close().catch(() => {});
    expect(this.#memory.leaks()).toEqual([]);
  }

  /** One operation more; nobody waits for it. */
  #begin(): void {
    const operation = this.#pick([
      () => this.#alloc(),
      () => this.#alloc(),
      () => this.#map(),
      () => this.#map(),
      () => this.#close(),
      () => this.#close(),
      () => this.#suspend(),
      () => this.#resume(),
      () => this.#last(),
      () => this.#read(),
      () => this.#update(),
      () => this.#space.dirty.start(),
      () => (this.#random() < 0.3 ? this.#space.dirty.stop() : this.#last()),
      () => (this.#random() < 0.3 ? this.#comeAndGo() : this.#alloc()),
      () => (this.#random() < 0.1 ? this.#unplug() : this.#close()),
      () => (this.#random() < 0.2 ? this.#unmapAll() : this.#map()),
    ]);
    const running = operation()
      .catch((error) => this.#note(error))
      .then(() => {
        this.#running.delete(running);
        this.#noFaults();
      });
    this.#running.add(running);
  }

  async #alloc(): Promise<void> {
    const controller = new AbortController();
    if (this.#random() < 0.2) setImmediate(() => controller.abort());
    const { signal } = controller;
    const size = PAGE * this.#upTo(4);
    const iova = this.#random() < 0.3 ? { iova: BigInt(PAGE * this.#upTo(PAGES - 4)) } : {};
    const onProgress = () => {
      if (this.#random() < 0.3) throw new Error('listener');
    };
    const watched = this.#random() < 0.3 ? { signal, onProgress } : {};
    this.#held.add(await this.#space.alloc(size, { ...iova, ...watched }));
  }

  async #map(): Promise<void> {
    this.#held.add(await this.#space.map(this.#shared(PAGE * this.#upTo(3))));
  }

  async #close(): Promise<void> {
    await this.#any()?.close();
  }

  async #suspend(): Promise<void> {
    const held = this.#any();
    if (held instanceof DmaMapping) held.suspend();
  }

  async #resume(): Promise<void> {
    const held = this.#any();
    if (held instanceof DmaMapping) held.resume();
  }

  async #last(): Promise<void> {
    const held = this.#any();
    if (!held) return;
    await this.#space.dirty.last(held);
    this.#ended.add(held);
  }

  async #read(): Promise<void> {
    const held = this.#any();
    if (held) await this.#space.dirty.read(held);
  }

  async #update(): Promise<void> {
    const held = this.#any();
    if (held instanceof DmaMapping) await this.#space.updateVaddr(held, this.#shared(held.size));
  }

  async #unmapAll(): Promise<void> {
    const before = [...this.#held];
    await this.#space.unmapAll();
    expect(before.filter((held) => !held.closed && !this.#ended.has(held))).toEqual([]);
  }

  /** The device leaves, or comes back; one that cannot is closed. */
  async #comeAndGo(): Promise<void> {
    if (this.#random() < 0.5) {
      await this.#space.leave(this.#member, this.#kernel.detach);
      return;
    }
    try {
      await this.#space.join(this.#member, this.#kernel.attach);
    } catch (error) {
      await this.#space.leave(this.#member, this.#kernel.detach);
      throw error;
    }
  }

  async #unplug(): Promise<void> {
    this.#kernel.unplug();
    await this.#space.leave(this.#member, this.#kernel.detach);
  }

  async #settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #progress(): Promise<void> {
    for (let i = this.#upTo(3); i > 0; i--) await new Promise(setImmediate);
  }

  /** Nothing is under way. */
  async #agree(): Promise<void> {
    const kernel = this.#kernel;
    const { refusals } = kernel;
    kernel.refusals = 0;
    if (!kernel.iommu) await this.#space.join(this.#member, kernel.attach);
    const open = [...this.#held].filter((held) => !held.closed && !this.#ended.has(held));
    const span = ({ iova, size }: DmaBuffer | DmaMapping) => [iova, BigInt(size)] as const;
    const isSuspended = (held: DmaBuffer | DmaMapping) =>
      held instanceof DmaMapping && held.suspended;

    const mapped = new Map([...kernel.refused, ...open.filter((h) => !isSuspended(h)).map(span)]);
    expect(sorted([...kernel.mapped].map(([iova, { size }]) => [iova, size]))).toEqual(
      sorted(mapped),
    );
    expect(this.#space.usage()).toMatchObject({ mappings: open.length });
    // What the caller lent is unmapped if the thread ends, and nothing else.
    const lent = open.filter((held) => held instanceof DmaMapping).map(({ iova }) => iova);
    const farewells = kernel.farewells().filter((iova) => !kernel.refused.has(iova));
    expect(new Set(farewells)).toEqual(new Set(lent));

    const taken = [...kernel.refused, ...open.map(span)];
    for (let page = 1n; page < PAGES; page++) {
      const iova = page * BigInt(PAGE);
      const isTaken = taken.some(([at, size]) => iova >= at && iova < at + size);
      const probe = await this.#space.alloc(PAGE, { iova }).catch(({ code }) => code);
      expect([page, probe instanceof DmaBuffer ? 'free' : probe]).toEqual([
        page,
        isTaken ? 'ERR_VFIO_IOVA_TAKEN' : 'free',
      ]);
      if (probe instanceof DmaBuffer) await probe.close();
    }
    const ranges = [...this.#held].filter((held) => held instanceof DmaBuffer && !held.closed);
    expect(this.#memory.leaks()).toEqual(ranges.map(() => 'range'));
    for (const held of this.#held) if (held.closed) this.#held.delete(held);
    this.#noFaults();
    kernel.refusals = refusals;
  }

  #noFaults(): void {
    expect(this.#kernel.faults).toEqual([]);
  }

  #note(error: unknown): void {
    const { code, message } = error as NodeJS.ErrnoException;
    if (message === 'listener' || expected.has(code ?? (error as Error).name)) return;
    if ((error as Error).name === 'AbortError') return;
    throw error;
  }

  #any(): DmaBuffer | DmaMapping | undefined {
    return this.#held.size === 0 ? undefined : this.#pick([...this.#held]);
  }

  #pick<T>(of: readonly T[]): T {
    return of[Math.floor(this.#random() * of.length)]!;
  }

  #upTo(most: number): number {
    return 1 + Math.floor(this.#random() * most);
  }

  #shared(bytes: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(new SharedArrayBuffer(bytes));
  }
}

function sorted(spans: Iterable<readonly [bigint, bigint]>) {
  return [...spans].sort(([a], [b]) => (a < b ? -1 : 1));
}

test.each([
  ['that never refuses', 0],
  ['that refuses now and then', 0.1],
])(
  'kernel, allocator and buffers agree, on a kernel %s',
  async (_, refusals) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        await new Model(seed, refusals).run();
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  },
  600_000,
);
