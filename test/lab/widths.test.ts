/**
 * What reaches a device of each register accessor: exactly one access of its width, cold and
 * optimised, on every release of Node. QEMU traces what it emulates. What the guest runs must be built
 * (npm run build).
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type LabCommand, startLab } from 'vfio/lab';
import { NODE_RELEASES, nodeRelease } from './node-releases';

jest.setTimeout(400_000);

const PROGRAM = join(__dirname, '../../build/test-guest/widths.js');

const REGIONS = ['edu-mmio', 'virtio-pci-common-virtio-rng'];

/** What is seen of one call: direction, offset in the region's page, bytes. */
const expected: Readonly<Record<string, readonly string[]>> = {
  read8: ['read 14 1'],
  read16: ['read 16 2'],
  read32: ['read 4 4'],
  'read32 unused and tested': ['read 4 4'],
  read64: ['read 80 8'],
  read64LoHi: ['read 88 4', 'read 8c 4'],
  readBatch32: ['read 4 4', 'read 8 4'],
  write8: ['write 14 1'],
  write16: ['write 16 2'],
  write32: ['write 4 4'],
  'write32 twice': ['write 4 4', 'write 4 4'],
  'read32 twice': ['read 4 4', 'read 4 4'],
  write64: ['write 80 8'],
  write64LoHi: ['write 88 4', 'write 8c 4'],
};

const MARK = 'read 0 4';

/** Accesses to the devices under test, in order, between marks. */
function phases(trace: string): string[][] {
  const found: string[][] = [];
  const line = /^memory_region_ops_(read|write) .* addr 0x([0-9a-f]+) .* size (\d+) name '(.*)'$/gm;
  for (const [, direction, address, size, name] of trace.matchAll(line)) {
    if (!REGIONS.includes(name!)) continue;
    const offset = Number.parseInt(address!.slice(-3), 16).toString(16);
    const access = `${direction} ${offset} ${size}`;
    if (access === MARK && name === REGIONS[0]) found.push([]);
    else found.at(-1)?.push(access);
  }
  return found;
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-widths-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

test('each accessor is one access of its width, never more, less or another', async () => {
  const others = NODE_RELEASES.filter((release) => `v${release}` !== process.version);
  const binaries = [process.execPath, ...(await Promise.all(others.map(nodeRelease)))];
  const trace = join(directory, 'trace');
  let told = '';
  let command: LabCommand | undefined;
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      const before = told;
      told += chunk;
      if (!before.includes('ready\n') && told.includes('ready\n')) {
        const on = { name: 'memory_region_ops_*', enable: true };
        lab.qmp.execute('trace-event-set-state', on).then(() => command!.signal('SIGUSR1'));
      }
      done();
    },
  });
  const lab = await startLab({
    devices: ['edu', 'virtio-rng-pci-non-transitional'],
    qemuArgs: ['-D', trace],
  });
  command = await lab.spawn([process.execPath, PROGRAM, 'parent', ...binaries], {
    stdout,
    timeout: 300,
  });
  expect(await command.exit).toEqual({ status: 0 });
  await lab.close();

  const [, names, count] = /^accessors: (.*) (\d+)$/m.exec(told)!;
  const accessors: string[] = JSON.parse(names!);
  expect(accessors).toEqual(Object.keys(expected));
  expect(told.match(/^done: v.*$/gm)).toHaveLength(binaries.length);

  const seen = phases(readFileSync(trace, 'utf8'));
  // Cold and optimised, and the last mark.
  expect(seen).toHaveLength(binaries.length * (2 * accessors.length + 1));
  binaries.forEach((binary, i) => {
    const own = seen.slice(i * (2 * accessors.length + 1));
    accessors.forEach((name, j) => {
      const once = expected[name]!;
      const many = Array.from({ length: Number(count) }, () => once).flat();
      expect([binary, name, 'cold', own[j]]).toEqual([binary, name, 'cold', once]);
      const hot = own[accessors.length + j];
      expect([binary, name, 'optimised', hot]).toEqual([binary, name, 'optimised', many]);
    });
  });
});
