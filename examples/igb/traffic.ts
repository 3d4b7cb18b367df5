/**
 * Sends and receives test frames over a port, PF or VF.
 *
 * The switch drops what finds no descriptor, so a sender must not run ahead of its receiver. Ours
 * answers with credits, and then nothing is lost however slow it is. To a receiver that knows
 * nothing of this, and to the broadcast address, frames go in small bursts with pauses.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay, setImmediate as nextTick } from 'node:timers/promises';
import {
  FRAME_BYTES,
  FrameChecker,
  FrameWriter,
  isFrom,
  type Stream,
  sequenceOf,
  sourceOf,
  streamOf,
} from './frames';
import type { Mac } from './mac';
import type { PacketPool } from './packet-pool';
import { Signal } from './signal';

/** What PF and VF drivers offer to whoever moves frames. */
export interface Port {
  readonly mac: Mac;
  readonly pool: Pick<PacketPool, 'length' | 'take' | 'give' | 'words'>;
  readonly rx: { rxBurst(ids: Uint32Array, max: number): number };
  readonly tx: {
    readonly pending: number;
    txBurst(ids: Uint32Array, count: number): number;
  };
  linkUp(): boolean;
  /** Called when frames may have come or gone. */
  onActivity: () => void;
}

/** Frames under way to a receiver that gives credit; fewer than its ring holds. */
const WINDOW = 256;
const BURST = 32;
/** Pause between bursts to a receiver that gives none. */
const PACE_MS = 5;
/** How long a sender asks before it takes the receiver for one that gives no credit. */
const PROBE_MS = 1000;
const PROBE_INTERVAL_MS = 20;
/** How long credit may fail to come before the same is assumed. */
const CREDIT_MS = 2000;
const LINK_POLL_MS = 20;
/** Received frames before timers and other interrupts get their turn. */
const BUDGET = 256;
const NO_CREDIT = -1;

export interface TrafficCounts {
  /** Test frames sent. */
  tx: number;
  /** Test frames received whole and in sequence. */
  rx: number;
  /** Test frames received damaged, repeated or late. */
  bad: number;
  /** Test frames missing between those received. */
  lost: number;
}

/** A stream that frames come from, and the credit it has been given. */
interface Creditor {
  readonly stream: Stream;
  readonly writer: FrameWriter;
  given: number;
}

export class Traffic {
  /** Called after frames have been received. */
  onReceive: () => void = () => {};
  private readonly checker = new FrameChecker();
  private readonly creditors: Creditor[] = [];
  private readonly wake = new Signal();
  private readonly received = new Uint32Array(BUDGET);
  private readonly sending = new Uint32Array(BURST);
  private readonly stream = randomBytes(4).readUInt32LE();
  private tx = 0;
  private rx = 0;
  private bad = 0;
  private credit = NO_CREDIT;
  private creditAt = 0;
  private closed = false;

  constructor(private readonly port: Port) {
    port.onActivity = this.receive;
  }

  get counts(): TrafficCounts {
    return { tx: this.tx, rx: this.rx, bad: this.bad, lost: this.checker.lost };
  }

  /** Before the port is closed. */
  close(): void {
    this.closed = true;
    this.port.onActivity = () => {};
  }

  /** Take in what has come. */
  readonly receive = (): void => {
    if (this.closed) return;
    const { rx, pool } = this.port;
    const { received } = this;
    const count = rx.rxBurst(received, BUDGET);
    for (let i = 0; i < count; i++) {
      const id = received[i]!;
      this.take(pool.words(id), pool.length(id));
      pool.give(id);
    }
    if (count > 0) {
      this.giveCredit();
      this.onReceive();
    }
    if (count === BUDGET) setImmediate(this.receive);
    this.wake.notify();
  };

  private take(words: Uint32Array, length: number): void {
    // The switch hands a broadcast to its sender, too.
    if (isFrom(words, 0, this.port.mac)) return;
    switch (this.checker.check(words, 0, length)) {
      case 'good':
        this.rx++;
        break;
      case 'bad':
        this.bad++;
        break;
      case 'probe':
        this.answerProbe(words);
        break;
      case 'credit':
        if (streamOf(words, 0) !== this.stream) break;
        this.credit = Math.max(this.credit, Math.min(sequenceOf(words, 0), this.tx));
        this.creditAt = Date.now();
        break;
    }
  }

  /** Send `count` test frames, as soon as there is link. Stops early when `signal` is aborted. */
  async send(count: number, destination: Mac, signal: AbortSignal): Promise<void> {
    const { tx } = this.port;
    await this.link(signal);
    const writer = new FrameWriter(this.port.mac, destination);
    let paced = writer.isBroadcast || !(await this.probe(writer, signal));
    while (this.tx < count && !signal.aborted) {
      await this.link(signal);
      const window = paced ? BURST : WINDOW - (this.tx - this.credit);
      const burst = this.sendBurst(writer, Math.min(window, BURST, count - this.tx));
      if (burst > 0) {
        await (paced ? delay(PACE_MS) : nextTick());
      } else {
        await this.wake.wait(PACE_MS);
        paced ||= Date.now() - this.creditAt > CREDIT_MS;
      }
    }
    while (tx.pending > 0 && !signal.aborted) await this.wake.wait(PACE_MS);
  }

  private async link(signal: AbortSignal): Promise<void> {
    while (!this.port.linkUp() && !signal.aborted) await delay(LINK_POLL_MS);
  }

  /** Send up to `count` test frames. Returns how many there was room for. */
  private sendBurst(writer: FrameWriter, count: number): number {
    const { sending } = this;
    const { pool } = this.port;
    let made = 0;
    while (made < count) {
      const id = pool.take(FRAME_BYTES);
      if (id < 0) break;
      writer.writeTest(pool.words(id), 0, this.stream, this.tx + made);
      sending[made++] = id;
    }
    const sent = this.port.tx.txBurst(sending, made);
    for (let i = sent; i < made; i++) pool.give(sending[i]!);
    this.tx += sent;
    return sent;
  }

  /** Send the frame that is in a buffer. False: there is no room, and the buffer is back. */
  private sendOne(id: number): boolean {
    this.sending[0] = id;
    if (this.port.tx.txBurst(this.sending, 1) === 1) return true;
    this.port.pool.give(id);
    return false;
  }

  /** Whether the receiver is there and gives credit. */
  private async probe(writer: FrameWriter, signal: AbortSignal): Promise<boolean> {
    const { pool } = this.port;
    const deadline = Date.now() + PROBE_MS;
    while (Date.now() < deadline && !signal.aborted) {
      const frame = pool.take(FRAME_BYTES);
      if (frame >= 0) {
        writer.writeProbe(pool.words(frame), 0, this.stream);
        this.sendOne(frame);
      }
      const next = Date.now() + PROBE_INTERVAL_MS;
      while (Date.now() < next) {
        await this.wake.wait(PROBE_INTERVAL_MS);
        if (this.credit !== NO_CREDIT) return true;
      }
    }
    return false;
  }

  private answerProbe(words: Uint32Array): void {
    const id = streamOf(words, 0);
    const writer = new FrameWriter(this.port.mac, sourceOf(words, 0));
    this.sendCredit(writer, id, this.checker.find(id)?.next ?? 0);
  }

  private giveCredit(): void {
    const { streams } = this.checker;
    for (let i = 0; i < streams.length; i++) {
      const creditor = this.creditors[i] ?? this.addCreditor(streams[i]!);
      const { stream, writer } = creditor;
      if (stream.next === creditor.given) continue;
      if (this.sendCredit(writer, stream.id, stream.next)) creditor.given = stream.next;
    }
  }

  private addCreditor(stream: Stream): Creditor {
    const writer = new FrameWriter(this.port.mac, stream.source);
    const creditor = { stream, writer, given: 0 };
    this.creditors.push(creditor);
    return creditor;
  }

  private sendCredit(writer: FrameWriter, id: number, sequence: number): boolean {
    const { pool } = this.port;
    const frame = pool.take(FRAME_BYTES);
    if (frame < 0) return false;
    writer.writeCredit(pool.words(frame), 0, id, sequence);
    return this.sendOne(frame);
  }
}
