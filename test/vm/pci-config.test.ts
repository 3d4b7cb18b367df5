/** @kernel stock */
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import {
  decodeConfigSpace,
  findCapability,
  openDevice,
  readConfigBytes,
  readConfigSpace,
} from 'vfio';
import { differences } from '../lspci/compare';
import { byAddress, lspciInstalled, lspciOf } from '../lspci/dump';
import { bound, findDevice } from './lab-devices';

const addresses = readdirSync('/sys/bus/pci/devices').sort();

if (!lspciInstalled) process.stderr.write('lspci is not installed: no comparison with it\n');
const withLspci = lspciInstalled ? test : test.skip;

describe('config space of every device of the VM', () => {
  withLspci('is what lspci says of the same bytes', () => {
    const devices = new Map(addresses.map((bdf) => [bdf, readConfigBytes(bdf)]));
    const lspci = lspciOf(devices);
    for (const [bdf, bytes] of devices) {
      expect(differences(decodeConfigSpace(bytes), lspci.get(bdf)!)).toEqual([]);
    }
  });

  withLspci('has the capabilities that lspci finds by itself', () => {
    const output = execFileSync('lspci', ['-D', '-vvv', '-n'], { encoding: 'utf8' });
    for (const [bdf, text] of byAddress(output)) {
      const places = [...text.matchAll(/Capabilities: \[([\da-f]+)/g)].map(([, at]) => at);
      const { capabilities, extendedCapabilities, problems } = readConfigSpace(bdf);
      const ours = [...capabilities, ...extendedCapabilities];
      expect(ours.map(({ offset }) => offset.toString(16))).toEqual(places);
      expect(problems).toEqual([]);
    }
  });
});

describe.each(['igb', 'edu'] as const)('of %s', (kind) => {
  bound(kind);

  test('by its region has the same capabilities, and follows what is written', async () => {
    const { bdf } = findDevice(kind);
    const { header, capabilities, extendedCapabilities } = readConfigSpace(bdf);
    const device = await openDevice(bdf);
    try {
      const view = device.configSpace();
      expect(view.problems).toEqual([]);
      expect(view.header).toMatchObject({
        type: 'endpoint',
        vendorId: header.vendorId,
        deviceId: header.deviceId,
        class: header.class,
      });
      const kinds = (caps: readonly { kind: string }[]) => caps.map(({ kind }) => kind);
      expect(kinds(view.capabilities)).toEqual(kinds(capabilities));
      expect(kinds(view.extendedCapabilities)).toEqual(kinds(extendedCapabilities));
      device.enableBusMaster();
      expect(device.configSpace().header.command.busMaster).toBe(true);
    } finally {
      await device.close();
    }
  });
});

test('igb tells where its MSI-X table is, and how many VFs it has', () => {
  const config = readConfigSpace(findDevice('igb').bdf);
  expect(findCapability(config, 'msix')).toMatchObject({ tableSize: 10, table: { bar: 3 } });
  expect(findCapability(config, 'sriov')).toMatchObject({ totalVfs: 8, vfDeviceId: 0x10ca });
  expect(findCapability(config, 'pcie')).toMatchObject({
    portType: 'endpoint',
    device: { capabilities: { functionLevelReset: true } },
  });
});
