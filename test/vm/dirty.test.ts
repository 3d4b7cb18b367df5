/**
 * Dirty tracking on the real kernel, and other process addresses for mappings, in every mode that has them.
 *
 * @kernel stock
 */
import { type AddressSpace, type Device, openDevice } from 'vfio';
import { dmaModes, type Mode } from './dma-modes';
import { deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice } from './lab-devices';

const PAGE = 4096;

bound('edu');

let space: AddressSpace;
let edu: Device;

async function enter({ open }: Mode): Promise<void> {
  space = open();
  edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  edu.enableBusMaster();
}

afterEach(async () => {
  await edu.close();
  await space.close();
});

describe.each(dmaModes.filter(({ tracksPinned }) => tracksPinned))('$name', (mode) => {
  beforeEach(() => enter(mode));

  test('what the device wrote to is among what type1 reports: all that is pinned', async () => {
    const buffer = await space.alloc(16 * PAGE, eduMask);
    await expect(space.dirty.read(buffer)).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    await space.dirty.start();
    await deviceWrites(edu, buffer.iova + BigInt(3 * PAGE));
    const dirty = await space.dirty.read(buffer);
    expect(dirty.isDirty(buffer.iova + BigInt(3 * PAGE))).toBe(true);
    expect(dirty.count).toBe(16);
    expect([...dirty.ranges()]).toEqual([{ iova: buffer.iova, size: BigInt(16 * PAGE) }]);
    await space.dirty.stop();
  });

  test('the last report comes with the unmapping; the memory is still there to be read', async () => {
    const buffer = await space.alloc(2 * PAGE, eduMask);
    await expect(space.dirty.last(buffer)).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
    await space.dirty.start();
    buffer.u32.fill(0x99);
    await deviceReads(edu, buffer.iova);
    await deviceWrites(edu, buffer.iova + 4096n);
    expect((await space.dirty.last(buffer)).count).toBe(2);
    expect(space.usage().mappings).toBe(0);
    expect(buffer.u32[1024]).toBe(0x99);
    buffer.u32.fill(0);
    await deviceWrites(edu, buffer.iova);
    expect(buffer.u32[0]).toBe(0);
    const again = await space.alloc(PAGE, { iova: buffer.iova });
    await expect(space.dirty.last(buffer)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' }),
    );
    await Promise.all([again.close(), buffer.close()]);
    await space.dirty.stop();
  });
});

describe.each(dmaModes.filter(({ updatesVaddr }) => updatesVaddr))('$name', (mode) => {
  beforeEach(() => enter(mode));

  test('a mapping gets another process address, and the device goes on', async () => {
    const pages = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const other = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const mapping = await space.map(new Uint8Array(pages.buffer), eduMask);
    const words = new Uint32Array(pages.buffer);
    words.fill(0x42);
    await deviceReads(edu, mapping.iova);
    const memory = new Uint8Array(other.buffer);
    await expect(space.updateVaddr(mapping, memory.subarray(0, PAGE))).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' }),
    );
    await space.updateVaddr(mapping, memory);
    words.fill(0);
    // What is pinned stays what it was: the kernel takes the caller's word that it is the same.
    await deviceWrites(edu, mapping.iova);
    expect(words[0]).toBe(0x42);
    await mapping.close();
  });
});
