import { existsSync } from 'node:fs';
import { openAddressSpace, openDevice } from 'vfio';
import { AddressSpace } from '../../src/dma/address-space';
import { Container, IOMMUFD_PATH } from '../../src/dma/container';
import { allocateMemory } from '../../src/dma/memory';
import { native } from '../../src/native';
import { dmaContract, type Mode } from '../contract/dma-contract';
import { bound, findDevice } from './lab-devices';

bound('edu', 'igb', 'nvme');

const modes: Mode[] = [
  {
    name: 'type1v2',
    open: () => openAddressSpace({ backend: 'group', iommu: 'type1v2' }),
    barByAddress: true,
  },
  {
    name: 'type1',
    open: () => openAddressSpace({ backend: 'group', iommu: 'type1' }),
    barByAddress: true,
  },
];
if (existsSync(IOMMUFD_PATH)) {
  modes.push(
    {
      name: 'iommufd as a container',
      open: () => new AddressSpace(Container.open(undefined, IOMMUFD_PATH)),
      barByAddress: false,
    },
    { name: 'iommufd', open: () => openAddressSpace({ backend: 'iommufd' }), barByAddress: false },
  );
} else {
  console.info('no /dev/iommu in this kernel: the DMA contract runs on containers only');
}

for (const mode of modes) dmaContract(mode, (kind) => findDevice(kind).bdf);

test('a container has room for 65,535 mappings, says so, and has it again', async () => {
  const space = openAddressSpace({ backend: 'group' });
  const dev = await openDevice(findDevice('edu').bdf, { addressSpace: space });
  const { range } = allocateMemory(4096, 'no');
  const vaddr = native.rangeAddress(range) as bigint;
  const kernel = space.kernelSpace;
  const limit = space.usage().mappingsLeft!;
  expect(limit).toBe(65535);
  const at = (i: number) => 0x1_0000_0000n + BigInt(i) * 8192n;
  for (let i = 0; i < limit; i++) await kernel.map(vaddr, at(i), 4096n, 'read-write');
  expect(space.usage().mappingsLeft).toBe(0);
  await expect(space.alloc(4096)).rejects.toThrow(
    expect.objectContaining({ code: 'ENOSPC', hint: expect.stringContaining('pool') }),
  );
  expect(await kernel.unmap(at(77), 4096n)).toBe(4096n);
  await (await space.alloc(4096)).close();
  expect(await kernel.unmapAll()).toBe(BigInt(limit - 1) * 4096n);
  expect(space.usage().mappingsLeft).toBe(limit);
  native.rangeRelease(range);
  await dev.close();
  await space.close();
}, 300_000);

test('several devices opened at once share one space', async () => {
  const space = openAddressSpace();
  const kinds = ['edu', 'igb', 'nvme'] as const;
  const devices = await Promise.all(
    kinds.map((kind) => openDevice(findDevice(kind).bdf, { addressSpace: space })),
  );
  const buffers = await Promise.all(devices.map((dev) => dev.dma.alloc(4096)));
  expect(new Set(buffers.map(({ iova }) => iova)).size).toBe(3);
  expect(space.usage().mappings).toBe(3);
  await space.close();
  expect(devices.map(({ closed }) => closed)).toEqual([true, true, true]);
});
