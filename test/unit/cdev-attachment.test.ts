/** A device and its PASIDs behind its character device, above an iommufd that is answered for here. */
import { openCdev } from '../../src/device/cdev';
import { AddressSpace } from '../../src/dma/address-space';
import { Ioas } from '../../src/dma/ioas';
import { GivenFd } from '../../src/given-fd';
import * as abi from '../../src/ioctl/abi/constants';
import * as s from '../../src/ioctl/abi/iommufd-structs';
import * as vfio from '../../src/ioctl/abi/structs';
import { answer, FD } from './fake-requests';

jest.mock('../../src/native', () => require('./fake-requests'));

const DEVICE = {
  name: '0000:01:00.0',
  path: '/nowhere',
  driver: 'vfio-pci',
  iommuGroup: undefined,
};
const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

/** What the kernel is asked, in order: attach to a page table, detach a PASID, destroy. */
let calls: string[];
let ids: number;
let space: AddressSpace;
let other: AddressSpace;

beforeEach(async () => {
  calls = [];
  ids = 0;
  answer('IOMMU_OPTION', () => 0);
  answer('IOMMU_IOAS_ALLOC', (bytes) => {
    s.iommu_ioas_alloc.view(bytes).out_ioas_id = ++ids;
    return 0;
  });
  answer('IOMMU_IOAS_IOVA_RANGES', (bytes) => {
    s.iommu_ioas_iova_ranges.view(bytes).out_iova_alignment = 1n;
    return 0;
  });
  answer('IOMMU_HWPT_ALLOC', (bytes) => {
    s.iommu_hwpt_alloc.view(bytes).out_hwpt_id = ++ids;
    return 0;
  });
  answer('IOMMU_DESTROY', (bytes) => {
    calls.push(`destroy ${s.iommu_destroy.view(bytes).id}`);
    return 0;
  });
  answer('IOMMU_GET_HW_INFO', (bytes) => {
    s.iommu_hw_info.view(bytes).out_max_pasid_log2 = 20;
    return 0;
  });
  answer('VFIO_DEVICE_BIND_IOMMUFD', (bytes) => {
    vfio.vfio_device_bind_iommufd.view(bytes).out_devid = 50;
    return 0;
  });
  answer('VFIO_DEVICE_ATTACH_IOMMUFD_PT', (bytes) => {
    const { flags, pt_id, pasid } = vfio.vfio_device_attach_iommufd_pt.view(bytes);
    calls.push(flags & abi.VFIO_DEVICE_ATTACH_PASID ? `${pasid} on ${pt_id}` : `on ${pt_id}`);
    return 0;
  });
  answer('VFIO_DEVICE_DETACH_IOMMUFD_PT', (bytes) => {
    calls.push(`detach ${vfio.vfio_device_detach_iommufd_pt.view(bytes).pasid}`);
    return 0;
  });
  space = new AddressSpace(Ioas.from(FD));
  other = space.sibling();
});

async function open() {
  const given = new GivenFd(FD);
  const attachment = await openCdev(DEVICE, { addressSpace: space, given });
  const iommufd = attachment.iommufd!;
  return {
    attachPasid: (pasid: number, to: AddressSpace) => iommufd.attachPasid(pasid, to),
    move: (to: AddressSpace) => iommufd.move(to),
    release: () => attachment.release(),
  };
}

test('a device that does not fit into the space in the end is no part of it', async () => {
  jest.spyOn(space.kernelSpace, 'geometry').mockReturnValueOnce(undefined);
  await expect(open()).rejects.toThrow('no IOMMU');
  await space.dirty.start();
  expect(calls).toEqual(['on 1']);
  await space.close();
});

test('a space that closes has those detached that are in it, and its page tables with them', async () => {
  const device = await open();
  await device.attachPasid(7, other);
  await other.close();
  // 1 and 2 are the spaces, 3 the table of the device, 4 that of its PASID.
  const attached = ['on 1', 'on 3', '7 on 4'];
  expect(calls).toEqual([
    ...attached,
    ...['detach 7', 'destroy 4', 'on 1', 'destroy 3', 'destroy 2'],
  ]);
  await device.release();
  await space.close();
});

test('a device with PASIDs does not move, and stays whole', async () => {
  const device = await open();
  await device.attachPasid(7, other);
  const before = calls.length;
  await expect(device.move(other)).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await expect(space.dirty.start()).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  expect(calls.slice(before)).toEqual([]);
  await device.release();
  await Promise.all([other.close(), space.close()]);
});

test('none is attached while dirty pages are tracked', async () => {
  answer('IOMMU_HWPT_SET_DIRTY_TRACKING', () => 0);
  const device = await open();
  await space.dirty.start();
  await expect(device.attachPasid(7, other)).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await space.dirty.stop();
  await device.attachPasid(7, other);
  await device.release();
  await Promise.all([other.close(), space.close()]);
});
