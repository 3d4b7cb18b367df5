import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex, Readable } from 'node:stream';
import type { Qemu } from '../tools/qemu';
import { ConsoleLog } from './console';
import { DESCRIPTORS } from './qemu';
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

/** A running QEMU process and the channels to it. It dies with this process, however that ends. */
export class Vm {
  readonly qmp: QmpClient;
  readonly console = new ConsoleLog();
  readonly control: Duplex;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when QEMU is gone and its console has been read to the end. Never rejects. */
  readonly ended: Promise<VmEnd>;
  readonly #process: ChildProcess;

  /**
   * @param onConsole sees the raw console as it comes, for `--verbose`
   */
  constructor(qemu: Qemu, args: readonly string[], onConsole?: (text: string) => void) {
    // The parent-death signal is the kernel's promise that no QEMU outlives a killed host process.
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...qemu.command, ...args], {
      env: { ...process.env, ...qemu.env },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
      // Ctrl-C of the terminal is for this process to act on, not for QEMU.
      detached: true,
    });
    this.qmp = new QmpClient(this.#channel(DESCRIPTORS.qmp));
    this.control = this.#channel(DESCRIPTORS.control);
    this.stdout = this.#channel(DESCRIPTORS.stdout);
    this.stderr = this.#channel(DESCRIPTORS.stderr);
    const serial = this.#channel(DESCRIPTORS.console).setEncoding('utf8');
    serial.on('data', (text: string) => {
      this.console.push(text);
      onConsole?.(text);
    });
    this.ended = this.#watch(serial);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Ends QEMU at once; whoever needs the outcome awaits `ended`. */
  kill(): void {
    this.#process.kill('SIGKILL');
  }

  #channel(descriptor: number): Duplex {
    const channel = this.#process.stdio[descriptor] as Duplex;
    channel.on('error', () => {}); // a reset when QEMU is killed; `ended` tells the story
    return channel;
  }

  async #watch(serial: Readable): Promise<VmEnd> {
    let messages = '';
    let reason: string | undefined;
    const errors = this.#process.stdio[2] as Readable;
    errors.setEncoding('utf8').on('data', (text: string) => {
      messages = (messages + text).slice(-8192);
    });
    this.qmp.on('event', ({ event, data }) => {
      if (event === 'SHUTDOWN' && typeof data.reason === 'string') reason = data.reason;
    });
    const exited = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      this.#process.once('exit', (status, signal) => resolve([status, signal]));
      this.#process.once('error', (error) => {
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

async function closed(stream: Readable): Promise<void> {
  if (!stream.closed) await once(stream, 'close').catch(() => {});
}
