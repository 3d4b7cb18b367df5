import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { ConsoleLog } from './console';
import { KEEPER } from './keeper';
import { DESCRIPTORS, PID_FILE } from './qemu';
import { QmpClient } from './qmp';

/** How QEMU ended. */
export interface VmEnd {
  status: number | null;
  signal: NodeJS.Signals | null;
  /** What QEMU had to say on its stderr. */
  messages: string;
  /** QMP's reason of the shutdown (`guest-reset`, `guest-shutdown`, `host-qmp-quit`, ...). */
  reason: string | undefined;
}

/** The keeper's descriptor for the pipe that QEMU's life hangs on. */
const LEASE = 3;

/**
 * A running QEMU process and the channels to it that are this process's alone. It dies with this
 * process, however that ends, unless it is kept.
 */
export class Vm {
  readonly qmp: QmpClient;
  readonly console = new ConsoleLog();
  /** Resolves when QEMU is gone and its console has been read to the end. Never rejects. */
  readonly ended: Promise<VmEnd>;
  readonly #keeper: ChildProcess;
  readonly #directory: string;
  #pid: number | undefined;

  /**
   * @param directory the VM's, which goes when it ends
   * @param command QEMU and its arguments
   * @param env variables that it needs
   * @param onConsole sees the raw console as it comes, for `--verbose`
   */
  constructor(
    directory: string,
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    onConsole?: (text: string) => void,
  ) {
    this.#directory = directory;
    this.#keeper = spawn('sh', ['-c', KEEPER, 'vfio-lab', directory, ...command], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      // Ctrl-C of the terminal is for this process to act on, not for QEMU.
      detached: true,
    });
    this.#channel(LEASE);
    this.qmp = new QmpClient(this.#channel(DESCRIPTORS.qmp));
    const serial = this.#channel(DESCRIPTORS.console).setEncoding('utf8');
    serial.on('data', (text: string) => {
      this.console.push(text);
      onConsole?.(text);
    });
    this.ended = this.#watch(serial);
  }

  /** The process id of QEMU, which it has written once its monitor is ready. */
  get pid(): number | undefined {
    try {
      this.#pid ??= Number(readFileSync(join(this.#directory, PID_FILE), 'utf8'));
    } catch {
      // Not started, or gone.
    }
    return this.#pid;
  }

  /** Ends QEMU; whoever needs the outcome awaits `ended`. */
  kill(): void {
    this.#channel(LEASE).destroy();
  }

  /** Lets QEMU live on without this process, which no longer waits for its end. */
  async keep(): Promise<void> {
    const lease = this.#channel(LEASE);
    await new Promise<void>((resolve) => lease.end('keep\n', resolve));
    for (const stream of this.#keeper.stdio) (stream as Socket | null)?.unref();
    this.#keeper.unref();
  }

  #channel(descriptor: number): Duplex {
    const channel = this.#keeper.stdio[descriptor] as Duplex;
    // A reset when QEMU is killed; `ended` tells the story.
    if (channel.listenerCount('error') === 0) channel.on('error', () => {});
    return channel;
  }

  async #watch(serial: Readable): Promise<VmEnd> {
    let messages = '';
    let reason: string | undefined;
    const errors = this.#keeper.stdio[2] as Readable;
    errors.setEncoding('utf8').on('data', (text: string) => {
      messages = (messages + text).slice(-8192);
    });
    this.qmp.on('event', ({ event, data }) => {
      if (event === 'SHUTDOWN' && typeof data.reason === 'string') reason = data.reason;
    });
    const exited = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      this.#keeper.once('exit', (status, signal) => resolve(outcome(status, signal)));
      this.#keeper.once('error', (error) => {
        messages = error.message;
        resolve([null, null]);
      });
    });
    const drained = Promise.all([serial, errors].map((stream) => closed(stream)));
    const [status, signal] = await exited;
    await drained;
    return { status, signal, messages: messages.trim(), reason };
  }
}

/** A shell reports the signal that ended a program as its own status. */
function outcome(
  status: number | null,
  signal: NodeJS.Signals | null,
): [number | null, NodeJS.Signals | null] {
  if (status === null || status <= 128) return [status, signal];
  const names = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  const name = names.find(([, number]) => number === status - 128)?.[0];
  return name === undefined ? [status, null] : [null, name];
}

async function closed(stream: Readable): Promise<void> {
  if (!stream.closed) await once(stream, 'close').catch(() => {});
}
