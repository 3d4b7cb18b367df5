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
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { SYS } from './fake-machine-paths';

let native: Record<string, string> = {};
let refusing: string | undefined;
let written: string[] = [];
let refusedCounts: readonly number[] = [];
let refusal: (path: string) => string | undefined = () => undefined;
const errnos: Readonly<Record<string, number>> = constants.errno;
/** Node.js has no name for it. */
const EUSERS = 87;
const vfPaths = new Map<string, string[]>();
let interrupt: (() => void) | undefined;

/** Drivers that a device has without an override. */
export function bootDriverCore(drivers: Record<string, string>): void {
  [native, refusing, written, interrupt] = [drivers, undefined, [], undefined];
  refusedCounts = [];
  refusal = () => undefined;
  vfPaths.clear();
  for (const driver of ['vfio-pci', ...Object.values(drivers)]) {
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

/** Writes to these paths fail so from now on. */
export function refuseWrites(code: string, paths = /^/): void {
  refusal = (path) => (paths.test(path) ? code : undefined);
}

/** What happens while the first device is probed, or the first VFs go. */
export function whileProbing(action: () => void): void {
  interrupt = action;
}

export const writes = () => written;

/** Stands in for `blockingWrite` of src/pci/blocking-write.ts. */
export async function blockingWrite(path: string, text: string): Promise<void> {
  if (!existsSync(path)) throw Object.assign(new Error(path), { code: 'ENOENT', errno: -2 });
  const code = refusal(path);
  if (code !== undefined) {
    throw Object.assign(new Error(path), { code, errno: -(errnos[code] ?? EUSERS) });
  }
  const count = path.endsWith('sriov_numvfs') ? Number(text) : undefined;
  if (count !== undefined && refusedCounts.includes(count)) {
    throw Object.assign(new Error(path), { code: 'ENOSPC', errno: -28 });
  }
  writeFileSync(path, text);
  written.push(`${basename(dirname(path))}/${basename(path)} ${text.trim()}`);
  if (path.endsWith('driver/unbind')) unbind(dirname(path));
  if (count !== undefined) replaceVfs(dirname(path), count);
  else if (path.endsWith('drivers_probe')) probe(text);
  else return;
  interrupt?.();
  interrupt = undefined;
}

/** Stands in for `blockingRead`. */
export async function blockingRead(path: string): Promise<string> {
  return readFileSync(path, 'utf8').trimEnd();
}

/** The VFs of a PF go with its driver. */
function unbind(driver: string): void {
  rmSync(driver);
  replaceVfs(dirname(driver), 0);
}

const linksOf = (pf: string) => readdirSync(pf).filter((name) => name.startsWith('virtfn'));

/** New VFs were never bound; those that the machine's description has come first. */
function replaceVfs(pf: string, count: number): void {
  const before = vfPaths.get(pf) ?? linksOf(pf).map((name) => realpathSync(join(pf, name)));
  vfPaths.set(pf, before);
  for (const path of before) {
    rmSync(join(path, 'driver'), { force: true });
    writeFileSync(join(path, 'driver_override'), '(null)\n');
  }
  for (const name of linksOf(pf)) rmSync(join(pf, name));
  for (let i = 0; i < count; i++) {
    const path = before[i] ?? newVf(pf, i);
    symlinkSync(path, join(pf, `virtfn${i}`));
    probe(basename(path));
  }
}

function newVf(pf: string, index: number): string {
  const bdf = `${basename(pf).replace(/:[^:]*$/, '')}:1f.${index & 7}`;
  const path = join(dirname(realpathSync(pf)), bdf);
  mkdirSync(path, { recursive: true });
  const ids = { vendor: '0x8086\n', device: '0x10ca\n', class: '0x020000\n' };
  for (const [name, text] of Object.entries({ ...ids, driver_override: '(null)\n' }))
    writeFileSync(join(path, name), text);
  rmSync(join(SYS, 'bus/pci/devices', bdf), { force: true });
  symlinkSync(path, join(SYS, 'bus/pci/devices', bdf));
  return path;
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
