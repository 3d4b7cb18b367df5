/** Runs one of the programs as a process of its own and reads what it reports. */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** One line of a program's report: the event and its fields. */
export type Report = Readonly<Record<string, unknown>> & { readonly event: string };

export class Child {
  readonly reports: Report[] = [];
  private readonly process: ChildProcess;
  private readonly exited: Promise<number | null>;
  private readonly waiting = new Set<() => void>();
  private ended = false;
  private errors = '';

  /** @param directory where the compiled programs are */
  constructor(
    private readonly program: 'pf' | 'vf' | 'generate' | 'forward' | 'capture',
    args: readonly string[],
    directory: string = __dirname,
  ) {
    this.process = spawn(process.execPath, [join(directory, `${program}.js`), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.process.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    createInterface({ input: this.process.stdout! }).on('line', (line) => {
      this.reports.push(JSON.parse(line) as Report);
      this.wake();
    });
    this.exited = new Promise((resolve) => {
      this.process.once('close', (code) => {
        this.ended = true;
        resolve(code);
        this.wake();
      });
    });
  }

  /** The first report of `event`; as soon as it comes. @throws if the program ends without it */
  async report(event: string): Promise<Report> {
    for (;;) {
      const report = this.reports.find((each) => each.event === event);
      if (report) return report;
      if (this.ended) throw new Error(`${this.program} ended without "${event}": ${this.errors}`);
      await new Promise<void>((resolve) => this.waiting.add(resolve));
    }
  }

  /** Wait for its end: its last report. @throws if it failed */
  async finish(): Promise<Report> {
    const code = await this.exited;
    const stats = this.reports.find(({ event }) => event === 'stats');
    if (code === 0 && stats) return stats;
    const last = stats ? JSON.stringify(stats) : '';
    throw new Error(`${this.program} ended with ${code}: ${this.errors}${last}`);
  }

  /** Ask it to end, and wait until it has. Does nothing if it has ended. */
  async stop(): Promise<void> {
    if (!this.ended) this.process.kill('SIGTERM');
    await this.exited;
  }

  private wake(): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const resolve of waiting) resolve();
  }
}
