import { existsSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type CommandOptions, planCommand } from '../commands/command-options';
import { LabCommand, type LabExit } from '../commands/lab-command';
import { LabError } from '../errors';
import { ConsoleLog } from '../machine/console';
import { CONSOLE_LOG } from '../machine/qemu';
import { QmpClient } from '../machine/qmp';
import { runtimeDirectory } from './directory';
import { connectMonitor, listLabs } from './registry';

/** How much of the console's end is read for a failure, in bytes. */
const LOG_TAIL = 32 << 10;

/** Milliseconds that a QEMU gets to end by itself. */
const STOP_TIMEOUT = 5000;

/** A running VM that another process started, such as by `vfio lab --keep`. */
export class AttachedLab implements AsyncDisposable {
  readonly id: string;
  readonly #pid: number;
  readonly #directory: string;
  /** Open from the start: the file goes with the VM. */
  readonly #console: FileHandle;

  /** @internal */
  constructor(id: string, pid: number, directory: string, console: FileHandle) {
    this.id = id;
    this.#pid = pid;
    this.#directory = directory;
    this.#console = console;
  }

  /** Runs a command, see Lab.run(). */
  async run(command: readonly string[], options: CommandOptions = {}): Promise<LabExit> {
    return (await this.spawn(command, options)).exit;
  }

  /** Starts a command, see Lab.spawn(). */
  async spawn(command: readonly string[], options: CommandOptions = {}): Promise<LabCommand> {
    const host = { directory: this.#directory, failure: () => this.#failure() };
    const defaults = { cwd: process.cwd(), env: undefined };
    return LabCommand.start(host, planCommand(command, options, defaults));
  }

  /** Ends the VM, and with it what others run in it. */
  async stop(): Promise<void> {
    const monitor = await connectMonitor(this.#directory);
    if (monitor === undefined) return;
    const quit = new QmpClient(monitor).execute('quit').catch(() => {});
    await Promise.race([quit, delay(STOP_TIMEOUT, undefined, { ref: false })]);
    const deadline = Date.now() + STOP_TIMEOUT;
    while (existsSync(this.#directory) && Date.now() < deadline) await delay(20);
    monitor.destroy();
    // One that does not answer, whose process ID is still its own.
    if (existsSync(this.#directory)) process.kill(this.#pid, 'SIGKILL');
  }

  /** Lets go of the VM, which goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#console.close();
  }

  async #failure(): Promise<LabError> {
    const log = new ConsoleLog();
    const { size } = await this.#console.stat();
    const start = Math.max(0, size - LOG_TAIL);
    const { buffer, bytesRead } = await this.#console.read(
      Buffer.alloc(LOG_TAIL),
      0,
      LOG_TAIL,
      start,
    );
    log.push(buffer.toString('utf8', 0, bytesRead));
    const kernelLog = log.lines;
    return log.verdict.kind === 'panic'
      ? new LabError('LAB_PANIC', log.verdict.message, { kernelLog })
      : new LabError('LAB_DIED', 'the VM ended before its command', { kernelLog });
  }
}

/**
 * A running VM by its ID.
 *
 * @throws LabError `LAB_GONE`
 */
export async function attachLab(id: string): Promise<AttachedLab> {
  const labs = await listLabs();
  const lab = labs.find((candidate) => candidate.id === id);
  if (lab === undefined) {
    const ids = labs.map((candidate) => candidate.id).join(', ');
    throw new LabError('LAB_GONE', `no lab ${JSON.stringify(id)} is running`, {
      hint: ids === '' ? 'start one with vfio lab --keep -- COMMAND' : `running are: ${ids}`,
    });
  }
  const directory = join(runtimeDirectory(), id);
  return new AttachedLab(id, lab.pid, directory, await open(join(directory, CONSOLE_LOG)));
}
