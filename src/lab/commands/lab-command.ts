import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from '../errors';
import { runRequest } from '../guest/command-script';
import type { CommandPlan } from './command-options';
import { deliver } from './deliver';
import { Slot } from './slots';

/** How a command ended: its exit status, or 128 + N if signal N killed it. */
export interface LabExit {
  status: number;
}

/** A VM to run a command in. */
export interface CommandHost {
  /** The VM's. */
  directory: string;
  /** Why the VM is gone, once it is. */
  failure(): Promise<LabError>;
}

/** Seconds that a guest gets to start a command: much less if it is not hung. */
const START_TIMEOUT = 60;

/** Seconds that a guest gets to kill a command. */
const KILL_TIMEOUT = 10;

/** A file beside a slot's sockets says what runs in it, for `vfio lab ps`. */
export const commandRecord = (directory: string, slot: number) =>
  join(directory, `${slot}.command`);

/** A command in a VM. */
export class LabCommand {
  /** Resolves when the command has ended and all its output was delivered. */
  readonly exit: Promise<LabExit>;
  readonly #slot: Slot;
  readonly #started: Promise<void>;
  /** The guest has killed what there was of it, and its slot is free. */
  readonly #ended: Promise<number>;
  /** Ends the wait for the command with a failure. */
  #fail: (verdict: LabError) => void = () => {};
  #hasFailed = false;

  private constructor(slot: Slot, plan: CommandPlan, outputs: Promise<unknown>, host: CommandHost) {
    this.#slot = slot;
    let onStarted: () => void = () => {};
    this.#started = new Promise((resolve) => {
      onStarted = resolve;
    });
    const status = new Promise<number>((resolve) => {
      slot.listen((line) => {
        if (line === 'started') onStarted();
        if (line === 'refused') {
          void this.#abort(
            new LabError('LAB_ARGUMENT', `the guest cannot enter the directory ${plan.cwd}`, {
              hint: '/run, /dev and /proc are its own; give another directory of this machine',
            }),
          );
        }
        const exit = /^exit (\d+)$/.exec(line);
        if (exit) resolve(Number(exit[1]));
      });
    });
    const failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    let hasExited = false;
    void slot.closed.then(async () => {
      if (!this.#hasFailed && !hasExited) this.#fail(await host.failure());
    });
    const complete = Promise.all([status, outputs]).then(([status]) =>
      this.#hasFailed ? failed : { status },
    );
    this.#ended = status;
    let timer = setTimeout(() => this.#abort(notStarted()), START_TIMEOUT * 1000);
    void this.#started.then(() => {
      clearTimeout(timer);
      if (plan.timeout === undefined) return;
      timer = setTimeout(() => this.#abort(outOfTime(plan)), plan.timeout * 1000);
    });
    this.exit = Promise.race([complete, failed]).finally(() => {
      hasExited = true;
      clearTimeout(timer);
      rmSync(commandRecord(host.directory, slot.number), { force: true });
      slot[Symbol.dispose]();
    });
    this.exit.catch(() => {}); // whoever cares awaits it
  }

  /**
   * Starts a command; resolves when it runs.
   *
   * @throws LabError if it cannot be started, or the VM ends before it is
   */
  static async start(host: CommandHost, plan: CommandPlan): Promise<LabCommand> {
    const slot = await claim(host);
    const command = await LabCommand.#startIn(slot, host, plan).catch(async (error) => {
      slot[Symbol.dispose]();
      throw error instanceof LabError ? error : await host.failure();
    });
    await Promise.race([command.#started, command.exit]);
    return command;
  }

  /** Sends a signal (`SIGINT`) to the command's process group in the guest. */
  signal(name: NodeJS.Signals): void {
    this.#slot.send(`signal ${name.replace(/^SIG/, '')}\n`);
  }

  /** Gives its terminal another size. */
  resize(columns: number, rows: number): void {
    this.#slot.send(`resize ${rows} ${columns}\n`);
  }

  static async #startIn(slot: Slot, host: CommandHost, plan: CommandPlan): Promise<LabCommand> {
    const id = randomBytes(16).toString('hex');
    const stdin = plan.stdin && (await slot.connect('stdin'));
    const stdout = await slot.connect('stdout');
    const stderr = await slot.connect('stderr');
    const fail = (cause: unknown) => void command.#abort(undeliverable(cause));
    const outputs = Promise.all([
      deliver(stdout, plan.stdout, id, fail),
      deliver(stderr, plan.stderr, id, fail),
    ]);
    const command = new LabCommand(slot, plan, outputs, host);
    const record = { pid: process.pid, command: plan.command };
    writeFileSync(commandRecord(host.directory, slot.number), JSON.stringify(record));
    slot.send(runRequest({ ...plan, id, input: plan.stdin ? 'pipe' : 'none' }));
    void command.#started.then(() => {
      // The guest says that it is there to read, with a byte that is of no interest.
      if (stdin) plan.stdin?.pipe(stdin.resume());
    });
    void command.exit.catch(() => {}).then(() => stdin && plan.stdin?.unpipe(stdin).pause());
    return command;
  }

  /** Kills the command, and fails: once it is gone, so that its slot is free. */
  async #abort(verdict: LabError): Promise<void> {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#slot.send('kill\n');
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, KILL_TIMEOUT * 1000);
    });
    await Promise.race([this.#ended, this.#slot.closed, patience]);
    clearTimeout(timer);
    this.#fail(verdict);
  }
}

async function claim(host: CommandHost): Promise<Slot> {
  try {
    return await Slot.claim(host.directory);
  } catch (error) {
    throw error instanceof LabError ? error : await host.failure();
  }
}

function undeliverable(cause: unknown): LabError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new LabError('LAB_OUTPUT', `cannot deliver the output: ${why}`, { cause });
}

function notStarted(): LabError {
  return new LabError(
    'LAB_TIMEOUT',
    `the guest did not start the command within ${START_TIMEOUT} s`,
    {
      hint: 'it may be hung; --verbose shows its console',
    },
  );
}

function outOfTime({ timeout }: CommandPlan): LabError {
  return new LabError('LAB_TIMEOUT', `the command did not finish within ${timeout} s`, {
    hint: 'allow more with --timeout (0 for no limit); --verbose shows the console of the guest',
  });
}
