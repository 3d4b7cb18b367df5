/** The devices that the tests in the VM find there, and what they need around them. */
import { readdirSync } from 'node:fs';
import { type Binding, bindDriver, type PciDevice, readPciDevice } from 'vfio';

const ids = {
  igb: { vendor: 0x8086, device: 0x10c9 },
  edu: { vendor: 0x1234, device: 0x11e8 },
  nvme: { vendor: 0x1b36, device: 0x0010 },
  e1000e: { vendor: 0x8086, device: 0x10d3 },
} as const;

/** All devices of a kind, by address. */
export function findDevices(kind: keyof typeof ids): PciDevice[] {
  const { vendor, device } = ids[kind];
  return readdirSync('/sys/bus/pci/devices')
    .sort()
    .map(readPciDevice)
    .filter((pci) => pci.vendor === vendor && pci.device === device);
}

export function findDevice(kind: keyof typeof ids): PciDevice {
  const [pci] = findDevices(kind);
  if (!pci) throw new Error(`the VM has no ${kind}: start it with npm test`);
  return pci;
}

/** Bind devices to vfio-pci before the tests of a describe block, and restore them after. */
export function bound(...kinds: Array<keyof typeof ids>): void {
  let bindings: Binding[] = [];
  beforeAll(async () => {
    const devices = kinds.map(findDevice);
    bindings = await Promise.all(devices.map(({ bdf }) => bindDriver(bdf)));
  });
  afterAll(async () => {
    await Promise.all(bindings.map((binding) => binding.restore()));
  });
}

/** Descriptors of this process that belong to VFIO, and its mappings of devices. */
export function vfioResources(): string[] {
  const { readlinkSync, readFileSync } = jest.requireActual<typeof import('node:fs')>('node:fs');
  const fds = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
  // Not the addon itself, nor what it keeps in reserve for faults of device memory.
  return [...fds, ...maps].filter(
    (name) => /vfio|eventfd|mtty/.test(name) && !/\.node|vfio-poison/.test(name),
  );
}
