/**
 * Accesses to sysfs that can wait for the users of a device: unbinding, changing VFs, resetting, and reading
 * what the same lock guards. On a thread of this process, such an access would take a place in libuv's pool
 * from the close that it waits for, and a thread inside the kernel keeps the process, with all its
 * descriptors, alive even after SIGKILL. Hence another process makes the access: it shares no descriptor
 * with this one and can be left behind.
 */
import type { ChildProcess } from 'node:child_process';

/** The program of that process: one access at a time, answered by its errno or by what was read. */
const PROGRAM = `
const { closeSync, constants, openSync, readFileSync, writeSync } = require('node:fs');
process.on('message', ({ path, text }) => {
  const answer = {};
  try {
    const fd = openSync(path, text === undefined ? constants.O_RDONLY : constants.O_WRONLY);
    try {
      if (text === undefined) answer.text = readFileSync(fd, 'latin1');
      else writeSync(fd, text);
    } finally {
      closeSync(fd);
    }
  } catch ({ code, errno, syscall }) {
    Object.assign(answer, { code, errno, syscall });
  }
  process.send(answer);
});
`;

/** Starting one takes as long as starting Node.js: those that are idle serve the next writes. */
const IDLE_MS = 5_000;

interface Answer {
  readonly code?: string;
  /** Negative, as Node.js has it. */
  readonly errno?: number;
  readonly syscall?: string;
  readonly text?: string;
}

const idle: ChildProcess[] = [];

/** One write(2) of `text` to an existing file. Rejects with the errno of open(2) or write(2), as `node:fs` does. */
export async function blockingWrite(path: string, text: string): Promise<void> {
  await access({ path, text });
}

/** The text of an attribute that another process may keep locked. Rejects as `blockingWrite`. */
export async function blockingRead(path: string): Promise<string> {
  return (await access({ path })).trimEnd();
}

async function access(request: { path: string; text?: string }): Promise<string> {
  const writer = idle.pop() ?? (await start());
  const { code, errno, syscall, text = '' } = await ask(writer, request);
  rest(writer);
  if (code === undefined) return text;
  const { path } = request;
  throw Object.assign(new Error(`${code}: ${syscall} '${path}'`), { code, errno, syscall, path });
}

async function start(): Promise<ChildProcess> {
  const { spawn } = await import('node:child_process');
  const writer = spawn(process.execPath, ['-e', PROGRAM], {
    cwd: '/',
    env: { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1' },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    // Out of reach of the terminal's Ctrl-C: after it, this process still has changes to undo.
    detached: true,
  });
  writer.on('error', () => forget(writer)).on('exit', () => forget(writer));
  return writer;
}

/** Keeps the event loop alive until the answer. */
function ask(writer: ChildProcess, request: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const ended = (status: number | null, signal: string | null) =>
      settle(() => reject(lost(`the process that accesses sysfs ended (${signal ?? status})`)));
    const failed = (error: Error | null) => error && settle(() => reject(error));
    const answered = (answer: unknown) => settle(() => resolve(answer as Answer));
    const settle = (how: () => void) => {
      writer.off('exit', ended).off('error', failed).off('message', answered);
      how();
    };
    writer.on('exit', ended).on('error', failed).on('message', answered);
    writer.ref();
    writer.channel?.ref();
    if (writer.connected) writer.send(request, failed);
    else if (writer.exitCode !== null || writer.signalCode !== null)
      ended(writer.exitCode, writer.signalCode);
  });
}

const lost = (message: string) => Object.assign(new Error(message), { code: 'EINTR' });

/** For the next write; it neither keeps this process alive nor outlives it. */
function rest(writer: ChildProcess): void {
  writer.unref();
  writer.channel?.unref();
  idle.push(writer);
  const timer = setTimeout(
    () => forget(writer) && writer.connected && writer.disconnect(),
    IDLE_MS,
  );
  timer.unref();
}

/** Whether it was idle. */
function forget(writer: ChildProcess): boolean {
  const at = idle.indexOf(writer);
  if (at >= 0) idle.splice(at, 1);
  return at >= 0;
}
