import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { KernelSource } from '../kernel/resolve';
import { AGENT, APPLETS } from './agent';
import { type CpioEntry, packCpio } from './cpio';
import { configScript, type GuestLayout, hiddenList, INIT } from './init';
import { moduleLoadOrder, moduleName } from './modules';

/** What is loaded before the command runs; the drivers of the devices themselves are not. */
const MODULES = [
  ...['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay'],
  ...['vfio_iommu_type1', 'vfio_pci'],
];

/**
 * The initramfs (uncompressed) that turns a booted kernel into a lab.
 *
 * @param early modules to load before all others
 * @param parameters of the kernel; a module gets those that begin with its name
 */
export async function buildInitramfs(
  kernel: KernelSource,
  busybox: string,
  layout: GuestLayout,
  { early, parameters }: { early: readonly string[]; parameters: readonly string[] },
): Promise<Buffer> {
  const modules = await readModules(kernel, busybox, early);
  const list = modules.map(({ name }) => {
    const own = parameters.filter((parameter) => parameter.startsWith(`${name}.`));
    return [`${name}.ko`, ...own.map((parameter) => parameter.slice(name.length + 1))]
      .join(' ')
      .concat('\n');
  });
  return packCpio([
    { kind: 'directory', path: 'lab' },
    { kind: 'directory', path: 'lab/bin' },
    { kind: 'directory', path: 'lab/modules' },
    { kind: 'file', path: 'init', data: Buffer.from(INIT), executable: true },
    { kind: 'file', path: 'lab/agent', data: Buffer.from(AGENT) },
    { kind: 'file', path: 'lab/config', data: Buffer.from(configScript(layout)) },
    { kind: 'file', path: 'lab/hidden', data: Buffer.from(hiddenList(layout)) },
    { kind: 'file', path: 'lab/modules.list', data: Buffer.from(list.join('')) },
    { kind: 'file', path: 'lab/bin/busybox', data: await readFile(busybox), executable: true },
    ...APPLETS.map(
      (name): CpioEntry => ({ kind: 'symlink', path: `lab/bin/${name}`, target: 'busybox' }),
    ),
    ...modules.map(
      ({ name, data }): CpioEntry => ({ kind: 'file', path: `lab/modules/${name}.ko`, data }),
    ),
  ]);
}

interface Module {
  name: string;
  data: Buffer;
}

/** The modules to load, in order, uncompressed: unpacking is slow inside an emulated machine. */
async function readModules(
  kernel: KernelSource,
  busybox: string,
  early: readonly string[],
): Promise<Module[]> {
  if (kernel.modules === undefined) return [];
  const directory = join(kernel.modules.directory, kernel.modules.release);
  return Promise.all(
    moduleLoadOrder(directory, [...early, ...MODULES]).map(async (file) => ({
      name: moduleName(file),
      data: await readModule(join(directory, file), busybox),
    })),
  );
}

async function readModule(file: string, busybox: string): Promise<Buffer> {
  if (file.endsWith('.xz')) return outputOf(busybox, ['xzcat', file]);
  if (file.endsWith('.gz')) return outputOf(busybox, ['zcat', file]);
  if (file.endsWith('.zst')) return outputOf('zstd', ['-dcq', file]);
  return readFile(file);
}

async function outputOf(program: string, args: readonly string[]): Promise<Buffer> {
  const { stdout } = await promisify(execFile)(program, args, {
    encoding: 'buffer',
    maxBuffer: 64 << 20,
  });
  return stdout;
}
