import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CommandOptions, planCommand } from './commands/command-options';
import { type CommandHost, LabCommand, type LabExit } from './commands/lab-command';
import { Slot } from './commands/slots';
import { LabError } from './errors';
import { buildInitramfs } from './guest/initramfs';
import { hiddenPaths } from './host-files/hidden';
import { viewOfHost } from './host-files/view';
import { bootNotice, chooseAccelerator } from './machine/accelerator';
import { BOUND_TO_KEEPER } from './machine/keeper';
import { kernelParameters, qemuArguments } from './machine/qemu';
import type { QmpClient } from './machine/qmp';
import { Vm, type VmEnd } from './machine/vm';
import { type LabOptions, type LabPlan, planLab } from './options';
import { makeVmDirectory, removeVmDirectory } from './running/directory';
import { writeRecord } from './running/registry';
import { prepareLab } from './setup';

/** Seconds a guest gets until it is ready for commands; a boot takes 5 to 10 without KVM. */
const BOOT_TIMEOUT = 180;

/** Where no mounts can be made; docs/lab.md has what follows from it. */
const HIDDEN_BY_GUEST = '; only the guest hides keys and passwords, see docs/lab.md';

/**
 * Boots a VM, and resolves when it is ready for commands. The set-up (QEMU, kernel, busybox) comes
 * first if it has not happened yet; see prepareLab().
 *
 * The guest sees the host's files at the same paths, secrets left out; what it writes to them is
 * lost with it, except in `out`. Commands run as root without a network or a login. vfio-pci is
 * loaded; no device is bound to any driver.
 *
 * @throws LabError if an option is wrong, or the guest does not get ready
 */
export async function startLab(options: LabOptions = {}): Promise<Lab> {
  const plan = planLab(options);
  const progress = (line: string) => plan.progress(line, 'set-up');
  const tools = await prepareLab({ ...plan, progress });
  const { id, directory } = makeVmDirectory();
  let vm: Vm | undefined;
  try {
    const accelerator = chooseAccelerator();
    const view = await viewOfHost(directory, hiddenPaths(plan.hide));
    const initramfs = join(directory, 'initramfs.cpio');
    const layout = {
      modulesDir: tools.kernel.modules?.directory,
      out: plan.machine.out,
      hidden: view.hidden,
    };
    const modules = {
      early: plan.machine.iommu.modules,
      parameters: kernelParameters(plan.machine),
    };
    const packed = await buildInitramfs(tools.kernel, tools.busybox, layout, modules);
    await writeFile(initramfs, packed);
    const args = qemuArguments({
      ...plan.machine,
      accelerator,
      directory,
      root: view.root,
      kernelImage: tools.kernel.image,
      initramfs,
    });
    const caveat = view.hidden.length > 0 ? HIDDEN_BY_GUEST : '';
    plan.progress(bootNotice(accelerator) + caveat, 'boot');
    const command = [...view.enter, ...BOUND_TO_KEEPER, ...tools.qemu.command, ...args];
    vm = new Vm(directory, command, tools.qemu.env, plan.onConsole);
    const lab = new Lab(vm, plan, { id, directory });
    await lab.ready;
    // QEMU has long read it.
    await rm(initramfs, { force: true });
    writeRecord(directory, {
      pid: lab.pid!,
      started: Date.now(),
      kernel: tools.kernel.modules?.release ?? tools.kernel.image,
      devices: plan.machine.devices,
    });
    return lab;
  } catch (error) {
    vm?.kill();
    await vm?.ended;
    removeVmDirectory(directory);
    throw error;
  }
}

/** A VM to run commands in; made by {@link startLab}. */
export class Lab implements AsyncDisposable {
  /** Names it among the labs of this user. */
  readonly id: string;
  /** @internal resolves when the guest is ready for commands */
  readonly ready: Promise<void>;
  readonly #vm: Vm;
  readonly #plan: LabPlan;
  readonly #host: CommandHost;
  /** Why this side ended the VM, if it did. */
  #verdict: LabError | undefined;
  #isReady = false;

  /** @internal */
  constructor(vm: Vm, plan: LabPlan, { id, directory }: { id: string; directory: string }) {
    this.id = id;
    this.#vm = vm;
    this.#plan = plan;
    this.#host = { directory, failure: async () => this.#failure(await vm.ended) };
    this.ready = this.#boot();
  }

  /** QEMU's monitor, for hotplug and error injection. */
  get qmp(): QmpClient {
    return this.#vm.qmp;
  }

  /** The process id of QEMU. */
  get pid(): number | undefined {
    return this.#vm.pid;
  }

  /**
   * Runs a command and resolves when it has ended. Several can run at a time; what one leaves
   * running is killed when it ends.
   *
   * @throws LabError if it cannot be started, or has no end: `LAB_TIMEOUT` (it is killed, the lab
   *   stays), `LAB_PANIC`, `LAB_DIED`, `LAB_CLOSED`
   */
  async run(command: readonly string[], options: CommandOptions = {}): Promise<LabExit> {
    return (await this.spawn(command, options)).exit;
  }

  /** Starts a command, see run(); resolves when it runs. */
  async spawn(command: readonly string[], options: CommandOptions = {}): Promise<LabCommand> {
    return LabCommand.start(this.#host, planCommand(command, options, this.#plan));
  }

  /**
   * Lets the VM live on when this process ends, for attachLab() and `vfio lab exec`. From then on
   * this process does not wait for it.
   */
  async keep(): Promise<void> {
    await this.#vm.keep();
  }

  /** Ends the VM if it still runs; its commands then reject with `LAB_CLOSED`. Idempotent. */
  async close(): Promise<void> {
    this.#end(new LabError('LAB_CLOSED', 'the lab was closed before its command had ended'));
    await this.#vm.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #boot(): Promise<void> {
    const timer = setTimeout(() => {
      const message = `the guest did not finish booting within ${BOOT_TIMEOUT} s`;
      this.#end(
        new LabError('LAB_BOOT', message, {
          kernelLog: this.#vm.console.lines,
          hint: 'its console is above; --verbose shows it as it comes',
        }),
      );
    }, BOOT_TIMEOUT * 1000);
    try {
      await Promise.race([this.#firstAnswer(), this.#vm.ended]);
      if (!this.#isReady) throw await this.#host.failure();
    } finally {
      clearTimeout(timer);
    }
  }

  /** The agent serves its slots when the guest is ready. */
  async #firstAnswer(): Promise<void> {
    try {
      await this.qmp.ready;
      const slot = await Slot.claim(this.#host.directory);
      this.#isReady = true;
      slot[Symbol.dispose]();
    } catch {
      await this.#vm.ended;
    }
  }

  #end(verdict: LabError): void {
    this.#verdict ??= verdict;
    this.#vm.kill();
  }

  #failure(end: VmEnd): LabError {
    if (this.#verdict) return this.#verdict;
    const kernelLog = this.#vm.console.lines;
    const { verdict } = this.#vm.console;
    if (verdict.kind === 'panic') return new LabError('LAB_PANIC', verdict.message, { kernelLog });
    if (verdict.kind === 'init') return new LabError('LAB_BOOT', verdict.message, { kernelLog });
    const said = end.messages === '' ? '' : `: ${end.messages}`;
    if (!this.#isReady && end.status !== 0 && end.signal === null) {
      return new LabError('LAB_QEMU', `QEMU failed${said}`, { kernelLog });
    }
    const how = end.signal === null ? `status ${end.status}` : `signal ${end.signal}`;
    const why = end.reason === undefined ? how : `${how}, ${end.reason}`;
    return new LabError('LAB_DIED', `the VM ended before its command (${why})${said}`, {
      kernelLog,
    });
  }
}
