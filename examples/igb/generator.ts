/** Makes and sends UDP frames, flow by flow, without an allocation each. */
import type { PacketPool } from './packet-pool';
import type { UdpTemplate } from './udp-frame';

export interface GeneratorOptions {
  readonly template: UdpTemplate;
  /** Flows, which come in turn. */
  readonly flows: number;
  /** Tag of all frames; 0: none. */
  readonly vlan: number;
}

const BURST = 32;

export class Generator {
  /** Frames sent: the number of the next. */
  private readonly counts = new Float64Array(1);
  private readonly ids = new Uint32Array(BURST);

  constructor(
    private readonly pool: Pick<PacketPool, 'take' | 'give' | 'words' | 'setFrame'>,
    private readonly tx: { txBurst(ids: Uint32Array, count: number): number },
    private readonly options: GeneratorOptions,
  ) {}

  get sent(): number {
    return this.counts[0]!;
  }

  /** One burst, as far as there is room, and not beyond `limit` frames in all. */
  poll(limit: number): void {
    const { pool, ids } = this;
    const { template, flows, vlan } = this.options;
    const first = this.sent;
    const wanted = Math.min(BURST, limit - first);
    let made = 0;
    while (made < wanted) {
      const id = pool.take(template.bytes);
      if (id < 0) break;
      const sequence = (first + made) >>> 0;
      template.write(pool.words(id), sequence % flows, sequence);
      pool.setFrame(id, template.bytes, vlan);
      ids[made++] = id;
    }
    const sent = this.tx.txBurst(ids, made);
    for (let i = sent; i < made; i++) pool.give(ids[i]!);
    this.counts[0] = first + sent;
  }
}
