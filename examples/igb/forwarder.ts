/** Layer 2 forwarding between two queue pairs that share a pool: what comes in on one goes out on the other. */
import type { PacketPool } from './packet-pool';
import { QueueCounter } from './queue-counter';

/** What the two sides have. */
export interface ForwardingSide {
  readonly rx: { rxBurst(ids: Uint32Array, max: number): number };
  readonly tx: { txBurst(ids: Uint32Array, count: number): number };
}

/** An export is looked up at each use, a local constant is not. */
const BURST = 32;

export { BURST };

export class Forwarder {
  private readonly passed = new QueueCounter();
  private readonly lost = new QueueCounter();
  private readonly ids = new Uint32Array(BURST);

  /** @param pool that all four queues have */
  constructor(
    private readonly pool: PacketPool,
    private readonly a: ForwardingSide,
    private readonly b: ForwardingSide,
  ) {}

  /** Frames passed on. */
  get forwarded(): number {
    return this.passed.value;
  }

  /** Frames that found the transmit queue full. */
  get dropped(): number {
    return this.lost.value;
  }

  /** A burst each way, at most. Returns how many frames came in. */
  poll(): number {
    return this.pass(this.a, this.b) + this.pass(this.b, this.a);
  }

  private pass(from: ForwardingSide, to: ForwardingSide): number {
    const { ids, pool } = this;
    const received = from.rx.rxBurst(ids, BURST);
    if (received === 0) return 0;
    const sent = to.tx.txBurst(ids, received);
    this.passed.add(sent);
    if (sent < received) {
      this.lost.add(received - sent);
      pool.buffers.giveIndices(ids, sent, received - sent);
    }
    return received;
  }
}
