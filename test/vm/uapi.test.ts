/** @kernel each */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { probeUapi, readConfigBytes } from 'vfio';
import { bound, findDevice, vfioResources } from './lab-devices';

const iommufd = existsSync('/dev/iommu');

describe('what the kernel has of the ABI for a device', () => {
  bound('igb');

  test('is found without a change to it', async () => {
    const { bdf } = findDevice('igb');
    const before = readConfigBytes(bdf);
    const resources = vfioResources();
    const probe = await probeUapi(bdf);
    expect(Buffer.from(readConfigBytes(bdf)).equals(before)).toBe(true);
    expect(vfioResources()).toEqual(resources);

    const present = (found: Readonly<Record<string, { present: boolean | null }>>) =>
      Object.fromEntries(Object.entries(found).map(([name, { present }]) => [name, present]));
    expect(present(probe.ioctls)).toMatchObject({
      VFIO_GET_API_VERSION: true,
      VFIO_GROUP_GET_DEVICE_FD: true,
      VFIO_DEVICE_GET_INFO: true,
      VFIO_DEVICE_SET_IRQS: true,
      VFIO_DEVICE_RESET: true,
      VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: true,
      VFIO_DEVICE_PCI_HOT_RESET: true,
      VFIO_DEVICE_IOEVENTFD: true,
      VFIO_DEVICE_QUERY_GFX_PLANE: false,
      VFIO_DEVICE_GET_GFX_DMABUF: false,
      VFIO_DEVICE_FEATURE: true,
      VFIO_DEVICE_BIND_IOMMUFD: iommufd,
      VFIO_DEVICE_ATTACH_IOMMUFD_PT: iommufd ? true : null,
      VFIO_MIG_GET_PRECOPY_INFO: false,
      VFIO_IOMMU_MAP_DMA: true,
      VFIO_IOMMU_DIRTY_PAGES: true,
      VFIO_IOMMU_SPAPR_TCE_CREATE: false,
      IOMMU_IOAS_MAP: iommufd ? true : null,
      IOMMU_DESTROY: iommufd ? true : null,
    });
    expect(probe.extensions.VFIO_TYPE1v2_IOMMU).toEqual({
      present: true,
      because: 'CHECK_EXTENSION: 1',
    });
    expect(probe.features).toMatchObject({
      VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: { present: true, get: false, set: true },
      VFIO_DEVICE_FEATURE_MIGRATION: { present: false },
      VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: { present: true, get: false, set: true },
    });
    expect(present(probe.capabilities)).toMatchObject({
      VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: true,
      VFIO_REGION_INFO_CAP_SPARSE_MMAP: false,
      VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: true,
    });
  });
});

test('of a device with another driver, what needs it open is not probed', async () => {
  const { ioctls, features } = await probeUapi(findDevice('edu').bdf);
  expect(ioctls.VFIO_CHECK_EXTENSION).toMatchObject({ present: true });
  expect(ioctls.VFIO_DEVICE_SET_IRQS).toEqual({
    present: null,
    because: expect.stringMatching(/^not probed.* is bound to no driver, not to vfio-pci/),
  });
  expect(features.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN).toMatchObject({ present: null, set: null });
});

test('the command prints it as JSON', () => {
  const main = join(__dirname, '../../dist/cli.js');
  const { bdf } = findDevice('edu');
  const output = execFileSync(process.execPath, [main, 'uapi', '--json', '--probe', bdf]);
  const document = JSON.parse(output.toString());
  expect(document.structs.vfio_device_info.fields.argsz).toEqual({ offset: 0, size: 4 });
  expect(document.probe.device).toBe(bdf);
});
