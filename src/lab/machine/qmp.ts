import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { eachLine } from '../lines';

/** QEMU refused a command; `class` is QMP's error class (`GenericError`, `DeviceNotFound`, ...). */
export class QmpError extends Error {
  override readonly name = 'QmpError';
  readonly class: string;

  constructor(command: string, error: { class: string; desc: string }) {
    super(`${command}: ${error.desc}`);
    this.class = error.class;
  }
}

/** An asynchronous QMP event, as QEMU reports it. */
export interface QmpEvent {
  event: string;
  data: Record<string, unknown>;
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** What QEMU sends: its greeting, an answer, or an event. */
interface Message {
  QMP?: unknown;
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: Record<string, unknown>;
}

/**
 * A client of the QEMU Machine Protocol (docs/interop/qmp-spec.rst). Emits `event` with a
 * {@link QmpEvent}.
 */
export class QmpClient extends EventEmitter<{ event: [QmpEvent] }> {
  readonly #channel: Duplex;
  readonly #pending = new Map<number, Pending>();
  /** Resolves once QEMU takes commands, that is, once it has accepted its command line. */
  readonly ready: Promise<void>;
  #greeted: () => void = () => {};
  #closed = false;
  #lastId = 0;

  constructor(channel: Duplex) {
    super();
    this.#channel = channel;
    const greeting = new Promise<void>((resolve, reject) => {
      this.#greeted = resolve;
      channel.once('close', () => reject(new Error('QEMU ended before its monitor answered')));
    });
    this.ready = greeting.then(() => this.#send('qmp_capabilities', {})).then(() => {});
    this.ready.catch(() => {}); // whoever cares awaits it
    channel.on('error', () => {}); // followed by `close`
    channel.once('close', () => this.#fail());
    eachLine(channel, (line) => this.#receive(line));
  }

  /**
   * Executes a command and resolves with its `return` member.
   *
   * @throws QmpError if QEMU refuses it
   */
  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    await this.ready;
    return this.#send(command, args);
  }

  /** Executes a command of the human monitor (HMP) and resolves with what it prints. */
  async human(commandLine: string): Promise<string> {
    return String(await this.execute('human-monitor-command', { 'command-line': commandLine }));
  }

  #send(command: string, args: Record<string, unknown>): Promise<unknown> {
    if (this.#closed) return Promise.reject(new Error(`${command}: the VM has ended`));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
      this.#channel.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  #receive(line: string): void {
    const message = JSON.parse(line) as Message;
    if (message.QMP !== undefined) this.#greeted();
    if (message.event !== undefined) {
      this.emit('event', { event: message.event, data: message.data ?? {} });
    }
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (pending === undefined || message.id === undefined) return;
    this.#pending.delete(message.id);
    if (message.error) pending.reject(new QmpError(pending.command, message.error));
    else pending.resolve(message.return);
  }

  #fail(): void {
    this.#closed = true;
    for (const { command, reject } of this.#pending.values()) {
      reject(new Error(`${command}: the VM has ended`));
    }
    this.#pending.clear();
  }
}
