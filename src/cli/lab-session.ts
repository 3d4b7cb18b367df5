/** A command in a lab, on the streams, the terminal and the signals of this process. */
import { constants } from 'node:os';
import { type CommandOptions, type LabCommand, LabError } from '../lab';
import { printError } from './errors';
import { LAB_FAILED } from './lab-status';
import { isTerminal, RawTerminal } from './lab-terminal';

export interface Session {
  readonly command: readonly string[];
  readonly onTerminal: boolean;
}

/**
 * @param wanted `-t`: on the terminal in any case
 * @throws LabError `LAB_ARGUMENT`
 */
export function planSession(command: readonly string[], wanted = false): Session {
  if (wanted && !isTerminal()) {
    throw new LabError('LAB_ARGUMENT', '-t needs a terminal as standard input and output', {
      hint: 'leave it out: the command then reads and writes what this one does',
    });
  }
  if (command.length > 0) {
    return { command, onTerminal: wanted || (isTerminal() && process.stderr.isTTY === true) };
  }
  if (!isTerminal()) {
    throw new LabError('LAB_ARGUMENT', 'no command, and no terminal for a shell', {
      hint: 'usage: vfio lab [options] -- COMMAND [ARG...]; see vfio lab --help',
    });
  }
  return { command: [process.env.SHELL || '/bin/sh'], onTerminal: true };
}

/** How a session starts its command and what ends it early. */
export interface SessionHost {
  /** Resolves when the command runs. */
  spawn(command: readonly string[], options: CommandOptions): Promise<LabCommand>;
  /** Ends the command, whatever it takes. */
  end(): void;
}

export class Signals implements Disposable {
  /** The one that ended the session. */
  last: NodeJS.Signals | undefined;
  readonly #names: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  readonly #end: () => void;
  #command: LabCommand | undefined;
  #forwarded = false;

  /**
   * The first signal goes to the command in the guest, which may clean up and whose status is
   * reported as ever. The second one, or one before there is a command, ends it all.
   */
  constructor(end: () => void) {
    this.#end = end;
    for (const name of this.#names) process.on(name, this.#onSignal);
  }

  goTo(command: LabCommand): void {
    this.#command = command;
  }

  [Symbol.dispose](): void {
    for (const name of this.#names) process.off(name, this.#onSignal);
  }

  #onSignal = (name: NodeJS.Signals): void => {
    if (this.#command === undefined) process.exit(128 + constants.signals[name]);
    if (this.#forwarded) {
      this.last = name;
      this.#end();
    } else {
      this.#forwarded = true;
      this.#command.signal(name);
    }
  };
}

/** Runs the session's command to its end: its status. */
export async function runSession(
  session: Session,
  host: SessionHost,
  signals: Signals,
  options: CommandOptions,
): Promise<number> {
  if (!session.onTerminal) {
    // A terminal that is only stdin stays with whoever else reads it, such as a pager.
    const stdin = process.stdin.isTTY ? undefined : process.stdin;
    const command = await host.spawn(session.command, { ...options, stdin });
    signals.goTo(command);
    return (await command.exit.finally(() => process.stdin.destroy())).status;
  }
  using terminal = new RawTerminal(host.end);
  try {
    const command = await host.spawn(session.command, {
      ...options,
      timeout: options.timeout ?? 0,
      stdin: terminal.input,
      terminal: terminal.size,
    });
    signals.goTo(command);
    terminal.onResize(({ columns, rows }) => command.resize(columns, rows));
    return (await command.exit).status;
  } catch (error) {
    terminal.reset();
    throw error;
  }
}

/** The exit status for a failure, after a message about it. */
export function failed(error: unknown, signals?: Signals): number {
  if (signals?.last !== undefined) return 128 + constants.signals[signals.last];
  if (isBrokenPipe(error)) return 128 + constants.signals.SIGPIPE;
  printError(error);
  return LAB_FAILED;
}

/** `vfio lab -- ... | head` ends as quietly as any other command does there. */
function isBrokenPipe(error: unknown): boolean {
  const cause = error instanceof LabError && error.code === 'LAB_OUTPUT' ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'EPIPE';
}
