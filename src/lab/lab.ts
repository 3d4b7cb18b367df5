import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { LabError } from './errors';
import { buildInitramfs } from './guest/initramfs';
import { UntilToken } from './guest/until-token';
import { eachLine } from './lines';
import { chooseAccelerator } from './machine/accelerator';
import { kernelParameters, qemuArguments } from './machine/qemu';
import type { QmpClient } from './machine/qmp';
import { Vm, type VmEnd } from './machine/vm';
import { type LabOptions, type LabPlan, planLab } from './options';
import { prepareLab } from './setup';

/** Seconds a guest gets to start the command; a boot takes 5 to 10 without KVM. */
const BOOT_TIMEOUT = 180;

/** How the command ended: its exit status, or 128 + N if signal N killed it. */
export interface LabExit {
  status: number;
}

/**
 * Boots a VM that runs one command, and resolves when the command has started. The set-up
 * (QEMU, kernel, busybox) comes first if it has not happened yet; see prepareLab().
 *
 * The guest sees the host's files read-only at the same paths, `out` writable; what it writes to
 * /tmp is lost with it. The command runs as root without a network, a login or a terminal. vfio-pci
 * is loaded; no device is bound to any driver.
 *
 * @throws LabError if an option is wrong, or the guest does not get as far as the command
 */
export async function startLab(options: LabOptions): Promise<Lab> {
  const plan = planLab(options);
  const tools = await prepareLab(plan);
  const token = `\x01vfio-lab-${randomBytes(16).toString('hex')}\x01`;
  const initramfs = await buildInitramfs(
    tools.kernel,
    tools.busybox,
    {
      ...plan.guest,
      modulesDir: tools.kernel.modules?.directory,
      token,
    },
    { early: plan.machine.iommu.modules, parameters: kernelParameters(plan.machine) },
  );
  const directory = await mkdtemp(join(tmpdir(), 'vfio-lab-'));
  try {
    const initramfsFile = join(directory, 'initramfs.cpio');
    await writeFile(initramfsFile, initramfs);
    const args = qemuArguments({
      ...plan.machine,
      accelerator: chooseAccelerator(),
      kernelImage: tools.kernel.image,
      initramfs: initramfsFile,
    });
    const lab = new Lab(new Vm(tools.qemu, args, plan.onConsole), plan, token);
    // QEMU has read the initramfs once its monitor answers.
    await Promise.race([lab.qmp.ready, lab.exit]).catch(() => {});
    await rm(directory, { recursive: true, force: true });
    await lab.started;
    return lab;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** A VM that runs a command; made by {@link startLab}. */
export class Lab implements AsyncDisposable {
  /** Resolves when the command has ended and all its output was delivered. */
  readonly exit: Promise<LabExit>;
  /** @internal resolves when the command has started */
  readonly started: Promise<void>;
  readonly #vm: Vm;
  /** Why this side ended the VM, if it did. */
  #verdict: LabError | undefined;
  #hasStarted = false;

  /** @internal */
  constructor(vm: Vm, plan: LabPlan, token: string) {
    this.#vm = vm;
    const bootTimer = this.#endAfter(BOOT_TIMEOUT, 'LAB_BOOT', 'the guest did not finish booting');
    let commandTimer: NodeJS.Timeout | undefined;
    let onStarted: () => void = () => {};
    const status = new Promise<number>((resolve) => {
      eachLine(vm.control, (line) => {
        if (line === 'started') {
          this.#hasStarted = true;
          clearTimeout(bootTimer);
          commandTimer = this.#endAfter(plan.timeout, 'LAB_TIMEOUT', 'the command did not finish');
          onStarted();
        }
        const exit = /^exit (\d+)$/.exec(line);
        if (exit) resolve(Number(exit[1]));
      });
    });
    const output = Promise.all([
      this.#deliver(vm.stdout, plan.stdout, token),
      this.#deliver(vm.stderr, plan.stderr, token),
    ]);
    this.exit = this.#outcome(Promise.all([status, output])).finally(() => {
      clearTimeout(bootTimer);
      clearTimeout(commandTimer);
    });
    this.started = Promise.race([
      new Promise<void>((resolve) => {
        onStarted = resolve;
      }),
      this.exit.then(() => {}),
    ]);
    // Both are for the caller to await; neither may end the process if he does not.
    this.exit.catch(() => {});
    this.started.catch(() => {});
  }

  /** QEMU's monitor, for hotplug and error injection. */
  get qmp(): QmpClient {
    return this.#vm.qmp;
  }

  /** The process id of QEMU. */
  get pid(): number | undefined {
    return this.#vm.pid;
  }

  /** Sends a signal (`SIGINT`) to the command's process group in the guest. */
  signal(name: NodeJS.Signals): void {
    this.#vm.control.write(`${name.replace(/^SIG/, '')}\n`);
  }

  /** Ends the VM if it still runs (`exit` then rejects with `LAB_CLOSED`). Idempotent. */
  async close(): Promise<void> {
    this.#end(new LabError('LAB_CLOSED', 'the lab was closed before its command had ended'));
    await this.#vm.ended;
    await this.exit.catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The status once it and all output are here; else why the VM ended without them. */
  async #outcome(complete: Promise<[number, unknown]>): Promise<LabExit> {
    const result = await Promise.race([complete, this.#vm.ended]);
    if (!Array.isArray(result)) throw this.#failure(result);
    await this.#vm.qmp.execute('quit').catch(() => {});
    await this.#vm.ended;
    return { status: result[0] };
  }

  /** Resolves when the whole stream was delivered; pending for ever if its end never comes. */
  async #deliver(source: Readable, target: Writable, token: string): Promise<void> {
    const until = new UntilToken(token);
    source.pipe(until);
    try {
      await pipeline(until, target, { end: false });
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      this.#end(new LabError('LAB_OUTPUT', `cannot deliver the output: ${why}`, { cause }));
    }
    if (!until.complete) await new Promise<never>(() => {});
  }

  #end(verdict: LabError): void {
    this.#verdict ??= verdict;
    this.#vm.kill();
  }

  #endAfter(
    seconds: number | undefined,
    code: 'LAB_BOOT' | 'LAB_TIMEOUT',
    what: string,
  ): NodeJS.Timeout | undefined {
    if (seconds === undefined) return undefined;
    return setTimeout(() => {
      this.#end(
        new LabError(code, `${what} within ${seconds} s`, { kernelLog: this.#vm.console.lines }),
      );
    }, seconds * 1000);
  }

  #failure(end: VmEnd): LabError {
    if (this.#verdict) return this.#verdict;
    const kernelLog = this.#vm.console.lines;
    const { verdict } = this.#vm.console;
    if (verdict.kind === 'panic') return new LabError('LAB_PANIC', verdict.message, { kernelLog });
    if (verdict.kind === 'init') return new LabError('LAB_BOOT', verdict.message, { kernelLog });
    const said = end.messages === '' ? '' : `: ${end.messages}`;
    if (!this.#hasStarted && end.status !== 0 && end.signal === null) {
      return new LabError('LAB_QEMU', `QEMU failed${said}`, { kernelLog });
    }
    const how = end.signal === null ? `status ${end.status}` : `signal ${end.signal}`;
    const why = end.reason === undefined ? how : `${how}, ${end.reason}`;
    return new LabError('LAB_DIED', `the VM ended before its command (${why})${said}`, {
      kernelLog,
    });
  }
}
