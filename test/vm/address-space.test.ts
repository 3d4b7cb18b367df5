/**
 * Address spaces whose devices come and go, on the real kernel.
 *
 * @kernel stock
 */
import { openAddressSpace, openDevice } from 'vfio';
import { deviceReads, deviceWrites, eduMask } from './edu-dma';
import { bound, findDevice } from './lab-devices';

const PAGE = 4096;
const MiB = 1 << 20;
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu', 'nvme');

test('a device that comes in while memory is being mapped does not get its addresses', async () => {
  const space = openAddressSpace();
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  const [nvme, large] = await Promise.all([
    openDevice(findDevice('nvme').bdf, { addressSpace: space }),
    space.alloc(64 * MiB),
  ]);
  const small = await space.alloc(PAGE);
  expect(small.iova).toBe(large.iova + BigInt(large.size));
  await Promise.all([large.close(), small.close()]);
  await Promise.all([edu.close(), nvme.close()]);
  await space.close();
});

test('a container that its last device left says what it lacks, and serves the next', async () => {
  const space = openAddressSpace({ backend: 'group' });
  const { bdf } = findDevice('edu');
  const first = await openDevice(bdf, { addressSpace: space });
  const kept = await space.alloc(PAGE, eduMask);
  const dropped = await space.alloc(PAGE, eduMask);
  await first.close();

  const refusal = expect.objectContaining({
    code: 'ERR_VFIO_INVALID_ARGUMENT',
    hint: expect.stringContaining('open one'),
  });
  await expect(space.alloc(PAGE)).rejects.toThrow(refusal);
  expect(() => space.usage()).toThrow(refusal);
  await dropped.close();

  const second = await openDevice(bdf, { addressSpace: space });
  second.enableBusMaster();
  await expect(space.alloc(PAGE, { iova: kept.iova })).rejects.toThrow(code('ERR_VFIO_IOVA_TAKEN'));
  const again = await space.alloc(PAGE, { iova: dropped.iova });
  kept.u32.fill(0x600d);
  await deviceReads(second, kept.iova);
  await deviceWrites(second, again.iova);
  expect(again.u32.at(-1)).toBe(0x600d);
  await second.close();
  await space.close();
});

test('version 1 of type1 has no dirty tracking, and says so', async () => {
  const space = openAddressSpace({ backend: 'group', iommu: 'type1' });
  const edu = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await edu.close();
  await space.close();
});
