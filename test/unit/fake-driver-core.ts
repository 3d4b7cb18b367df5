/** The part of the kernel's driver core that binds: what writes to a fake machine's sysfs do. */
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SYS } from './fake-machine-paths';

const actual = jest.requireActual<typeof import('node:fs/promises')>('node:fs/promises');

let native: Record<string, string> = {};
let refusing: string | undefined;
let written: string[] = [];
let interrupt: (() => void) | undefined;

/** Drivers that a device has without an override. */
export function bootDriverCore(drivers: Record<string, string>): void {
  [native, refusing, written, interrupt] = [drivers, undefined, [], undefined];
  for (const driver of Object.values(drivers)) {
    mkdirSync(join(SYS, 'bus/pci/drivers', driver), { recursive: true });
    writeFileSync(join(SYS, 'bus/pci/drivers', driver, 'bind'), '');
  }
}

/** No driver takes this device under an override from now on. */
export function refuse(bdf: string): void {
  refusing = bdf;
}

/** What happens while the first device is probed. */
export function whileProbing(action: () => void): void {
  interrupt = action;
}

export const writes = () => written;

export async function writeFile(path: string, text: string): Promise<void> {
  if (!existsSync(path)) throw Object.assign(new Error(path), { code: 'ENOENT', errno: -2 });
  await actual.writeFile(path, text);
  written.push(`${basename(dirname(path))}/${basename(path)} ${text.trim()}`);
  if (path.endsWith('driver/unbind')) rmSync(dirname(path));
  if (!path.endsWith('drivers_probe')) return;
  probe(text);
  interrupt?.();
  interrupt = undefined;
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
