import { rmSync } from 'node:fs';
import { readConfigBytes, readConfigSpace } from 'vfio';
import { SYS } from './fake-paths';
import { makeSysfs } from './fake-sysfs';

jest.mock('../../src/pci/paths', () => require('./fake-paths'));

const sysfs = makeSysfs(SYS);
const bdf = '0000:01:00.0';

function withConfig(attributes: Record<string, string>): void {
  rmSync(SYS, { recursive: true, force: true });
  sysfs.add({ bdf, vendor: 0x8086, device: 0x10c9, attributes });
}

afterAll(() => sysfs.remove());

test.each([64, 256, 4096])('%i bytes are all read', (size) => {
  withConfig({ config: 'x'.repeat(size) });
  expect(readConfigBytes(bdf)).toHaveLength(size);
});

test('of a file that is too large, no more than a config space can have', () => {
  withConfig({ config: 'x'.repeat(1 << 20) });
  expect(readConfigBytes('01:00.0')).toHaveLength(4096);
});

test('less than a header, or no file, is an error that names the device', () => {
  withConfig({ config: 'x'.repeat(63) });
  expect(() => readConfigSpace(bdf)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }),
  );
  withConfig({});
  expect(() => readConfigSpace(bdf)).toThrow(
    expect.objectContaining({ name: 'VfioError', code: 'ENOENT', device: bdf }),
  );
});

test('a device that is not there is one, too', () => {
  expect(() => readConfigSpace('0000:02:00.0')).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_NO_DEVICE' }),
  );
});
