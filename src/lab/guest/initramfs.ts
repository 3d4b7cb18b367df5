import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { KernelSource } from '../kernel/resolve';
import { AGENT, APPLETS } from './agent';
import { type CpioEntry, packCpio } from './cpio';
import { configScript, type GuestLayout, hiddenList, INIT } from './init';
import { moduleLoadOrder, moduleName } from './modules';

/**
 * Parameters of vfio-pci in the guest: a PF it owns may create VFs, and an unused device stays
 * in D0 (a PF in D3cold takes a minute to answer again).
 */
const VFIO_PCI_PARAMETERS: Readonly<Record<string, string>> = {
  enable_sriov: '1',
  disable_idle_d3: '1',
};

/** What is loaded before the command runs; the drivers of the devices themselves are not. */
const MODULES = [
  ...['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay'],
  ...['vfio_iommu_type1', 'vfio_pci'],
];

/** The same parameters for a kernel that has vfio-pci built in. */
export const vfioPciKernelParameters = Object.entries(VFIO_PCI_PARAMETERS).map(
  ([name, value]) => `vfio_pci.${name}=${value}`,
);

/** The initramfs (uncompressed) that turns a booted kernel into a lab. */
export async function buildInitramfs(
  kernel: KernelSource,
  busybox: string,
  layout: GuestLayout,
): Promise<Buffer> {
  const modules = await readModules(kernel, busybox);
  const parameters = Object.entries(VFIO_PCI_PARAMETERS).map((pair) => pair.join('='));
  const list = modules.map(({ name }) =>
    [`${name}.ko`, ...(name === 'vfio_pci' ? parameters : [])].join(' ').concat('\n'),
  );
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
async function readModules(kernel: KernelSource, busybox: string): Promise<Module[]> {
  if (kernel.modules === undefined) return [];
  const directory = join(kernel.modules.directory, kernel.modules.release);
  return Promise.all(
    moduleLoadOrder(directory, MODULES).map(async (file) => ({
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
