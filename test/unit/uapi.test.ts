import { uapiDocument } from '../../src/cli/uapi-document';
import { uapiText } from '../../src/cli/uapi-text';

test('the JSON has numbers by name, structs with places, and releases', () => {
  const document = JSON.parse(JSON.stringify(uapiDocument()));
  expect(document).toMatchObject({
    ioctls: { VFIO_DEVICE_GET_INFO: 15211 },
    structs: { vfio_device_info: { size: 24, fields: { argsz: { offset: 0, size: 4 } } } },
    features: { VFIO_DEVICE_FEATURE_DMA_BUF: 11 },
    capabilities: { VFIO_REGION_INFO_CAP_SPARSE_MMAP: 1 },
    constants: { VFIO_DEVICE_API_PCI_STRING: 'vfio-pci' },
    since: { IOMMU_DESTROY: '6.2' },
  });
  expect(document).not.toHaveProperty('probe');
});

test('a name is in one table only', () => {
  const { since, ...tables } = uapiDocument();
  const names = Object.values(tables).flatMap((table) => Object.keys(table));
  expect(new Set(names).size).toBe(names.length);
});

test('the text has a row for each name, and the findings of a probe', () => {
  const finding = { present: false, because: 'ENOTTY' };
  const probe = {
    device: '0000:01:00.0',
    kernel: '6.12.0',
    ioctls: { VFIO_DEVICE_IOEVENTFD: finding },
    extensions: {},
    features: {},
    capabilities: {},
  };
  const text = uapiText(uapiDocument(probe));
  expect(text).toMatch(/0000:01:00.0 on Linux 6.12.0/);
  expect(text).toMatch(/VFIO_DEVICE_IOEVENTFD +0x3b74 +4.17 {2}no \(ENOTTY\)/);
  expect(text).toMatch(/struct vfio_irq_set +20 bytes +3.6\n +0 +4 {2}argsz/);
  for (const name of Object.keys(uapiDocument().since)) expect(text).toContain(name);
});
