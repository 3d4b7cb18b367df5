// Runs in a guest: every register accessor, cold and optimised, by each of the given Node binaries, on
// devices whose accesses QEMU traces. A read of edu's first register says that the next one begins.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { bindDriver, openDevice } from '../../../src';
import { Region } from '../../../src/device/region';
import { native } from '../../../src/native';

type Accessor = [name: string, region: Region, access: (region: Region) => unknown];

const COUNT = 50;
const [mode, ...binaries] = process.argv.slice(2);
const EDU = '0000:00:01.0';
const RNG = '0000:00:02.0';

/** Name, region, and the access: offsets of edu and of virtio's common configuration that bear any value. */
function accessors(edu: Region, rng: Region): Accessor[] {
  const pair = new Uint32Array(2);
  const offsets = Uint32Array.of(0x4, 0x8);
  return [
    ['read8', rng, (r) => r.read8(0x14)],
    ['read16', rng, (r) => r.read16(0x16)],
    ['read32', edu, (r) => r.read32(0x4)],
    ['read32 unused and tested', edu, (r) => void ((r.read32(0x4) & 1) === 0)],
    ['read64', edu, (r) => r.read64(0x80)],
    ['read64LoHi', edu, (r) => r.read64LoHi(0x88, pair)],
    ['readBatch32', edu, (r) => r.readBatch32(offsets, pair)],
    ['write8', rng, (r) => r.write8(0x14, 0)],
    ['write16', rng, (r) => r.write16(0x16, 0)],
    ['write32', edu, (r) => r.write32(0x4, 0x1234)],
    ['write32 twice', edu, (r) => r.write32(0x4, 1) ?? r.write32(0x4, 2)],
    ['read32 twice', edu, (r) => r.read32(0x4) + r.read32(0x4)],
    ['write64', edu, (r) => r.write64(0x80, 0x1234n)],
    ['write64LoHi', edu, (r) => r.write64LoHi(0x88, 1, 2)],
  ];
}

/** A region of the same class on ordinary memory, to have the accessors compiled without the device. */
function practice(): Region {
  const size = 4096;
  const info = { index: 0, flags: 7, size, offset: 0, capabilities: [] };
  return new Region('practice', native.memfdCreate(size, 0), 'memory', info);
}

async function child(): Promise<void> {
  const edu = await openDevice(EDU);
  const rng = await openDevice(RNG);
  const bars: [Region, Region] = [edu.region('bar0'), rng.region('bar4')];
  const memory = practice();
  const mark = () => bars[0].read32(0);
  const all = accessors(...bars);
  for (const [, region, access] of all) {
    mark();
    access(region);
  }
  for (const [, region, access] of all) {
    for (let i = 0; i < 20_000; i++) access(memory);
    mark();
    for (let i = 0; i < COUNT; i++) access(region);
  }
  mark();
  await Promise.all([edu.close(), rng.close()]);
}

async function parent(): Promise<void> {
  await Promise.all([EDU, RNG].map((bdf) => bindDriver(bdf)));
  const memory = practice();
  const names = accessors(memory, memory).map(([name]) => name);
  console.log(`accessors: ${JSON.stringify(names)} ${COUNT}`);
  const traced = once(process, 'SIGUSR1');
  const alive = setInterval(() => {}, 1000);
  console.log('ready');
  await traced;
  clearInterval(alive);
  for (const binary of binaries) {
    const version = execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim();
    execFileSync(binary, [__filename, 'child'], { stdio: ['ignore', 'inherit', 'inherit'] });
    console.log(`done: ${version}`);
  }
}

(mode === 'child' ? child() : parent()).catch((error) => {
  console.error(error);
  process.exit(1);
});
