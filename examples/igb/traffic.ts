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
import type { FrameSink } from './ring';
import { Signal } from './signal';

/** What PF and VF drivers offer to whoever moves frames. */
export interface Port {
  readonly mac: Mac;
  readonly rx: { reap(sink: FrameSink, budget: number): number };
  readonly tx: {
    readonly words: Uint32Array;
    readonly free: number;
    readonly pending: number;
    claim(): number;
    push(length: number): void;
    kick(): void;
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
const REAP_BUDGET = 256;
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

export class Traffic implements FrameSink {
  /** Called after frames have been received. */
  onReceive: () => void = () => {};
  private readonly checker = new FrameChecker();
  private readonly creditors: Creditor[] = [];
  private readonly wake = new Signal();
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
    const count = this.port.rx.reap(this, REAP_BUDGET);
    if (count > 0) {
      this.giveCredit();
      this.onReceive();
    }
    // Timers and other interrupts get their turn before the rest.
    if (count === REAP_BUDGET) setImmediate(this.receive);
    this.wake.notify();
  };

  /** One received frame (FrameSink). */
  frame(words: Uint32Array, index: number, length: number): void {
    // The switch hands a broadcast to its sender, too.
    if (isFrom(words, index, this.port.mac)) return;
    switch (this.checker.check(words, index, length)) {
      case 'good':
        this.rx++;
        break;
      case 'bad':
        this.bad++;
        break;
      case 'probe':
        this.answerProbe(words, index);
        break;
      case 'credit':
        if (streamOf(words, index) !== this.stream) break;
        this.credit = Math.max(this.credit, Math.min(sequenceOf(words, index), this.tx));
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
      const burst = Math.min(window, BURST, tx.free, count - this.tx);
      if (burst > 0) {
        this.sendBurst(writer, burst);
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

  private sendBurst(writer: FrameWriter, count: number): void {
    const { tx } = this.port;
    for (let i = 0; i < count; i++) {
      writer.writeTest(tx.words, tx.claim(), this.stream, this.tx++);
      tx.push(FRAME_BYTES);
    }
    tx.kick();
  }

  /** Whether the receiver is there and gives credit. */
  private async probe(writer: FrameWriter, signal: AbortSignal): Promise<boolean> {
    const { tx } = this.port;
    const deadline = Date.now() + PROBE_MS;
    while (Date.now() < deadline && !signal.aborted) {
      if (tx.free > 0) {
        writer.writeProbe(tx.words, tx.claim(), this.stream);
        tx.push(FRAME_BYTES);
        tx.kick();
      }
      const next = Date.now() + PROBE_INTERVAL_MS;
      while (Date.now() < next) {
        await this.wake.wait(PROBE_INTERVAL_MS);
        if (this.credit !== NO_CREDIT) return true;
      }
    }
    return false;
  }

  private answerProbe(words: Uint32Array, index: number): void {
    const id = streamOf(words, index);
    this.sendCredit(
      new FrameWriter(this.port.mac, sourceOf(words, index)),
      id,
      this.checker.find(id)?.next ?? 0,
    );
    this.port.tx.kick();
  }

  private giveCredit(): void {
    const { streams } = this.checker;
    for (let i = 0; i < streams.length; i++) {
      const creditor = this.creditors[i] ?? this.addCreditor(streams[i]!);
      const { stream, writer } = creditor;
      if (stream.next === creditor.given) continue;
      if (this.sendCredit(writer, stream.id, stream.next)) creditor.given = stream.next;
    }
    this.port.tx.kick();
  }

  private addCreditor(stream: Stream): Creditor {
    const writer = new FrameWriter(this.port.mac, stream.source);
    const creditor = { stream, writer, given: 0 };
    this.creditors.push(creditor);
    return creditor;
  }

  private sendCredit(writer: FrameWriter, id: number, sequence: number): boolean {
    const { tx } = this.port;
    if (tx.free === 0) return false;
    writer.writeCredit(tx.words, tx.claim(), id, sequence);
    tx.push(FRAME_BYTES);
    return true;
  }
}
