/** The part of the kernel's driver core that binds: what writes to a fake machine's sysfs do. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SYS } from './fake-machine-paths';

const actual = jest.requireActual<typeof import('node:fs/promises')>('node:fs/promises');

let native: Record<string, string> = {};
let refusing: string | undefined;
let written: string[] = [];
let refusedCounts: readonly number[] = [];
let interrupt: (() => void) | undefined;

/** Drivers that a device has without an override. */
export function bootDriverCore(drivers: Record<string, string>): void {
  [native, refusing, written, interrupt] = [drivers, undefined, [], undefined];
  refusedCounts = [];
  for (const driver of Object.values(drivers)) {
    mkdirSync(join(SYS, 'bus/pci/drivers', driver), { recursive: true });
    for (const file of ['bind', 'unbind'])
      writeFileSync(join(SYS, 'bus/pci/drivers', driver, file), '');
  }
}

/** No driver takes this device under an override from now on. */
export function refuse(bdf: string): void {
  refusing = bdf;
}

/** The driver of a PF makes no such number of VFs from now on. */
export function refuseVfs(...counts: number[]): void {
  refusedCounts = counts;
}

/** What happens while the first device is probed, or the first VFs go. */
export function whileProbing(action: () => void): void {
  interrupt = action;
}

export const writes = () => written;

export async function writeFile(path: string, text: string): Promise<void> {
  if (!existsSync(path)) throw Object.assign(new Error(path), { code: 'ENOENT', errno: -2 });
  const count = path.endsWith('sriov_numvfs') ? Number(text) : undefined;
  if (count !== undefined && refusedCounts.includes(count)) {
    throw Object.assign(new Error(path), { code: 'ENOSPC', errno: -28 });
  }
  await actual.writeFile(path, text);
  written.push(`${basename(dirname(path))}/${basename(path)} ${text.trim()}`);
  if (path.endsWith('driver/unbind')) rmSync(dirname(path));
  if (count !== undefined) replaceVfs(dirname(path), count);
  else if (path.endsWith('drivers_probe')) probe(text);
  else return;
  interrupt?.();
  interrupt = undefined;
}

/** The devices of a machine's description stay; what is new on a new VF is that it was never bound. */
function replaceVfs(pf: string, count: number): void {
  const links = readdirSync(pf).filter((name) => name.startsWith('virtfn'));
  for (const link of links) {
    rmSync(join(pf, link, 'driver'), { force: true });
    writeFileSync(join(pf, link, 'driver_override'), '(null)\n');
  }
  for (const link of links.slice(0, count)) probe(basename(realpathSync(join(pf, link))));
}

function probe(bdf: string): void {
  const device = join(SYS, 'bus/pci/devices', bdf);
  const override = readFileSync(join(device, 'driver_override'), 'utf8').trim();
  const chosen = override === '' || override === '(null)' ? native[bdf] : override;
  if (chosen === undefined || (override !== '' && refusing === bdf)) return;
  if (!existsSync(join(device, 'driver'))) {
    symlinkSync(join(SYS, 'bus/pci/drivers', chosen), join(device, 'driver'));
  }
}
