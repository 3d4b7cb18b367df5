import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { LabError } from '../errors';
import { type Channel, portSocket, SLOTS } from '../guest/ports';
import { eachLine } from '../lines';
import { tryLockFile } from '../lock';

/** One of a guest's slots, for this process alone: what its agent says, and sockets to its ports. */
export class Slot implements Disposable {
  readonly number: number;
  readonly #directory: string;
  readonly #lock: Disposable;
  readonly #sockets: Socket[] = [];
  #control: Socket | undefined;
  #onLine: (line: string) => void = () => {};

  private constructor(directory: string, number: number, lock: Disposable) {
    this.#directory = directory;
    this.number = number;
    this.#lock = lock;
  }

  /**
   * Takes a slot that is free, and waits until its agent answers.
   *
   * @throws LabError `LAB_BUSY`, or what connect(2) says where there is no such VM
   */
  static async claim(directory: string): Promise<Slot> {
    for (let number = 0; number < SLOTS; number++) {
      const lock = await tryLockFile(join(directory, `${number}.lock`));
      if (lock === undefined) continue;
      const slot = new Slot(directory, number, lock);
      try {
        await slot.#greet();
        return slot;
      } catch (error) {
        slot[Symbol.dispose]();
        throw error;
      }
    }
    throw new LabError('LAB_BUSY', `${SLOTS} commands run in this lab already`, {
      hint: 'wait for one to end',
    });
  }

  /** Resolves when the agent no longer can be heard: the VM has ended, or this side has let go. */
  get closed(): Promise<void> {
    const control = this.#control!;
    return control.closed ? Promise.resolve() : once(control, 'close').then(() => {});
  }

  send(message: string | Buffer): void {
    this.#control?.write(message);
  }

  /** From now on, `onLine` is called with each line that the agent says. */
  listen(onLine: (line: string) => void): void {
    this.#onLine = onLine;
  }

  /** A socket to another port of the slot. */
  async connect(channel: Channel): Promise<Socket> {
    const socket = connect(portSocket(this.#directory, this.number, channel));
    this.#sockets.push(socket);
    await once(socket, 'connect');
    socket.on('error', () => {}); // followed by `close`
    return socket;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#lock[Symbol.dispose]();
  }

  /** Whatever the agent still had to say to the one before comes ahead of its answer. */
  async #greet(): Promise<void> {
    const control = await this.connect('control');
    this.#control = control;
    const ready = new Promise<void>((resolve, reject) => {
      this.#onLine = (line) => line === 'ready' && resolve();
      control.once('close', () => reject(new Error('the VM has ended')));
    });
    eachLine(control, (line) => this.#onLine(line));
    control.write('hello\n');
    await ready;
  }
}
