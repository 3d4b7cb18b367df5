/** The queues of an 82576 in software: registers as memory, and a device that reads and writes rings. */
import { PacketPool } from '../../examples/igb/packet-pool';
import { createQueues, type QueueOptions } from '../../examples/igb/queue-pair';
import { Pf, type PfRegister, Registers } from '../../examples/igb/registers';
import type { SlabMemory } from '../../src/dma/piece';
import { createPool } from '../../src/dma/pool';

export const QUEUE = 7;
const DESCRIPTOR_WORDS = 4;
/** Its memory begins below 4 GiB and crosses that line. */
const FIRST_IOVA = 0xffff_f000n;

export interface Frame {
  readonly bytes: Uint8Array;
  readonly vlan: number;
}

export class SoftwareIgb {
  readonly memory = new Map<number, number>();
  /** Writes of RDT and TDT. */
  doorbells = 0;
  readonly registers = new Registers<PfRegister>({
    read32: (offset) => this.memory.get(offset) ?? 0,
    write32: (offset, value) => {
      if (offset === this.rx.RDT || offset === this.tx.TDT) this.doorbells++;
      this.memory.set(offset, value);
    },
  });
  readonly rx = Pf.queue(QUEUE).rxQueue;
  readonly tx = Pf.queue(QUEUE).txQueue;
  readonly dma = {
    alloc: (size: number) => this.alloc(size),
    pool: (options: { size: number; count: number }) => createPool(this.dma, options),
  };
  private readonly slabs: Array<SlabMemory & { u32: Uint32Array }> = [];
  private next = FIRST_IOVA;
  private vlan = 0;
  private readonly pieces: number[] = [];

  alloc(size: number) {
    const u8 = new Uint8Array(size);
    const slab = {
      u8,
      u32: new Uint32Array(u8.buffer),
      u64: new BigUint64Array(u8.buffer),
      iova: this.next,
      iovaLo: Number(this.next & 0xffff_ffffn),
      iovaHi: Number(this.next >> 32n),
      close: async () => void structuredClone(u8.buffer, { transfer: [u8.buffer] }),
    };
    this.slabs.push(slab);
    this.next += BigInt(Math.ceil(size / 4096) * 4096);
    return Promise.resolve(slab);
  }

  /** Queues on a pool of `count` buffers. */
  async queues(count: number, bufferBytes: number, options: QueueOptions) {
    const pool = await PacketPool.create(this.dma as never, { count, bufferBytes });
    const queue = Pf.queue(QUEUE);
    const pair = await createQueues(this.registers, queue, this.dma as never, { ...options, pool });
    pair.rx.start();
    pair.tx.start();
    this.doorbells = 0;
    return pair;
  }

  get(register: number): number {
    return this.memory.get(register) ?? 0;
  }

  at(low: number, high: number): Uint8Array {
    const iova = BigInt(low) | (BigInt(high) << 32n);
    const slab = this.slabs.find((s) => iova >= s.iova && iova < s.iova + BigInt(s.u8.length));
    if (!slab) throw new Error(`the device reached for 0x${iova.toString(16)}`);
    return slab.u8.subarray(Number(iova - slab.iova));
  }

  /** A descriptor of the ring whose base is in these registers. */
  private descriptor(low: number, high: number, index: number): Uint32Array {
    const bytes = this.at(this.get(low), this.get(high));
    const at = bytes.byteOffset + index * DESCRIPTOR_WORDS * 4;
    return new Uint32Array(bytes.buffer, at, DESCRIPTOR_WORDS);
  }

  /** Whether there was a descriptor for the frame. `flags`: of the status word, besides DD. */
  receive({ bytes, vlan }: Frame, flags = 2): boolean {
    const head = this.get(this.rx.RDH);
    if (head === this.get(this.rx.RDT)) return false;
    const d = this.descriptor(this.rx.RDBAL, this.rx.RDBAH, head);
    this.at(d[0]!, d[1]!).set(bytes);
    d.set([0, 0, (1 | flags | (vlan ? 8 : 0)) >>> 0, (bytes.length | (vlan << 16)) >>> 0]);
    this.memory.set(this.rx.RDH, (((head + 1) * 16) % this.get(this.rx.RDLEN)) / 16);
    return true;
  }

  /** What the driver has queued goes out, at most `max` descriptors of it. */
  transmit(max = Number.POSITIVE_INFINITY): Frame[] {
    const frames: Frame[] = [];
    for (let i = 0; i < max && this.get(this.tx.TDH) !== this.get(this.tx.TDT); i++) {
      const head = this.get(this.tx.TDH);
      const d = this.descriptor(this.tx.TDBAL, this.tx.TDBAH, head);
      const [low, high, command] = d as unknown as [number, number, number];
      if (((command >>> 20) & 15) === 2) this.vlan = low >>> 16;
      else {
        const size = command & 0xffff;
        if ((low % 4096) + size > 4096) throw new Error('a piece is on two pages');
        this.pieces.push(...this.at(low, high).subarray(0, size));
        if (command & (1 << 24)) {
          const bytes = Uint8Array.from(this.pieces.splice(0));
          frames.push({ bytes, vlan: command & (1 << 30) ? this.vlan : 0 });
        }
      }
      if (command & (1 << 27)) d[3] = 1;
      this.memory.set(this.tx.TDH, (((head + 1) * 16) % this.get(this.tx.TDLEN)) / 16);
    }
    return frames;
  }
}
