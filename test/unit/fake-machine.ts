/** Builds the files of a machine from a compact description (test/fixtures/machines.ts). */
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ROOT } from './fake-machine-paths';

export interface FakeFunction {
  /** `8086:10c9`. */
  readonly id: string;
  /** Six hex digits. */
  readonly class: string;
  readonly driver?: string;
  readonly group?: number;
  /** The bridge above it; without one it is on the root bus. */
  readonly below?: string;
  readonly pf?: string;
  /** Further attributes of sysfs. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly config?: Uint8Array;
}

export interface FakeMachine {
  readonly devices: Readonly<Record<string, FakeFunction>>;
  /** Other files by their path from the root, `proc/cmdline`. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Symbolic links by their path from the root, with their target from there. */
  readonly links?: Readonly<Record<string, string>>;
}

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true });
  writeFileSync(join(ROOT, path), content);
}

function link(path: string, target: string): void {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true });
  symlinkSync(join(ROOT, target), join(ROOT, path));
}

/** Put this machine in place of the one before. */
export function bootMachine({ devices, files = {}, links = {} }: FakeMachine): void {
  removeMachine();
  mkdirSync(ROOT, { recursive: true });
  const pathOf = (bdf: string): string => {
    const below = devices[bdf]?.below;
    const parent =
      below === undefined ? `sys/devices/pci${bdf.slice(0, bdf.lastIndexOf(':'))}` : pathOf(below);
    return `${parent}/${bdf}`;
  };
  write('sys/bus/pci/drivers_probe', '');
  write('sys/bus/pci/drivers/vfio-pci/bind', '');
  for (const [bdf, device] of Object.entries(devices)) addFunction(bdf, device, pathOf);
  for (const [path, text] of Object.entries(files)) write(path, text);
  for (const [path, target] of Object.entries(links)) link(path, target);
}

function addFunction(bdf: string, device: FakeFunction, pathOf: (bdf: string) => string): void {
  const path = pathOf(bdf);
  const [vendor, id] = device.id.split(':');
  write(`${path}/vendor`, `0x${vendor}\n`);
  write(`${path}/device`, `0x${id}\n`);
  write(`${path}/class`, `0x${device.class}\n`);
  write(`${path}/driver_override`, '(null)\n');
  if (device.config) write(`${path}/config`, device.config);
  for (const [name, text] of Object.entries(device.attributes ?? {}))
    write(`${path}/${name}`, text);
  link(`sys/bus/pci/devices/${bdf}`, path);
  if (device.driver !== undefined) {
    write(`sys/bus/pci/drivers/${device.driver}/bind`, '');
    write(`sys/bus/pci/drivers/${device.driver}/unbind`, '');
    link(`${path}/driver`, `sys/bus/pci/drivers/${device.driver}`);
  }
  if (device.group !== undefined) {
    link(`${path}/iommu_group`, `sys/kernel/iommu_groups/${device.group}`);
    link(`sys/kernel/iommu_groups/${device.group}/devices/${bdf}`, path);
    write(`sys/kernel/iommu_groups/${device.group}/type`, 'DMA-FQ\n');
  }
  if (device.pf !== undefined) {
    link(`${path}/physfn`, pathOf(device.pf));
    const index = readdirSync(join(ROOT, pathOf(device.pf))).filter((name) =>
      name.startsWith('virtfn'),
    ).length;
    link(`${pathOf(device.pf)}/virtfn${index}`, path);
  }
}

export function removeMachine(): void {
  rmSync(ROOT, { recursive: true, force: true });
}
