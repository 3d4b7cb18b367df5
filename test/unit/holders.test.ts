/** Who keeps a node busy: as processes with descriptors, with mappings, and with both hidden show it. */
import { findHolders } from '../../src/pci/holders';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { DEV_VFIO, ROOT } from './fake-machine-paths';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

const BDF = '0000:01:00.0';
const GROUP = `${DEV_VFIO}/5`;
const NODE = `${DEV_VFIO}/devices/vfio0`;
const ANONYMOUS = 'anon_inode:[vfio-device]';

afterAll(removeMachine);

/** Links of this kind have no path, which is what the fake machine makes of all. */
jest.mock('node:fs', () => {
  const fs = jest.requireActual('node:fs');
  const readlinkSync = (path: string) =>
    fs.readlinkSync(path).replace(/^.*\/(anon_inode:\[vfio-device\])$/, '$1');
  return { ...fs, readlinkSync };
});

function holdersWith(
  files: NonNullable<FakeMachine['files']>,
  links: NonNullable<FakeMachine['links']> = {},
  path = GROUP,
): string[] {
  const device = { id: '8086:10c9', class: '020000', driver: 'vfio-pci', group: 5 };
  bootMachine({ devices: { [BDF]: device }, files: { 'proc/7/comm': 'dpdk\n', ...files }, links });
  return findHolders(path);
}

const maps = (file: string) => ({
  'proc/7/maps':
    '55d0-55d1 r-xp 00000000 fe:00 131 /usr/bin/dpdk\n' +
    `7f00-7f10 rw-s 00000000 00:0e 99                 ${file}\n`,
});
const syspath = `/sys/devices/pci0000:00/${BDF}/vfio-dev/vfio0`;

test('its node by a descriptor', () => {
  expect(holdersWith({}, { 'proc/7/fd/20': 'dev/vfio/5' })).toEqual(['dpdk (pid 7) by fd 20']);
  expect(holdersWith({}, { 'proc/7/fd/20': 'dev/vfio/6' })).toEqual([]);
});

test('its own node by a mapping that outlived the descriptor', () => {
  expect(holdersWith(maps(`${ROOT}/dev/vfio/devices/vfio0`), {}, NODE)).toEqual([
    'dpdk (pid 7) by a mapping',
  ]);
});

test.each([GROUP, NODE])(
  '%s by the descriptor of a device, on a kernel that tells which',
  (path) => {
    const link = { 'proc/7/fd/21': ANONYMOUS };
    const told = (device: string) => ({
      'proc/7/fdinfo/21': `pos:\t0\nvfio-device-syspath: ${device}\n`,
    });
    expect(holdersWith(told(syspath), link, path)).toEqual(['dpdk (pid 7) by fd 21']);
    const other = syspath.replace('0000:01', '0000:02').replace('vfio0', 'vfio1');
    expect(holdersWith(told(other), link, path)).toEqual([]);
  },
);

test('by the descriptor or a mapping of a device, where nothing tells of which', () => {
  expect(holdersWith({ 'proc/7/fdinfo/21': 'pos:\t0\n' }, { 'proc/7/fd/21': ANONYMOUS })).toEqual([
    'dpdk (pid 7) by fd 21, of this device or another one',
  ]);
  expect(holdersWith(maps(ANONYMOUS), { 'proc/7/fd/3': 'dev/vfio/vfio' })).toEqual([
    'dpdk (pid 7) by a mapping of this device or another one',
  ]);
});

test('a process with the group of another device is not in the way', () => {
  const links = { 'proc/7/fd/20': 'dev/vfio/6', 'proc/7/fd/21': ANONYMOUS };
  expect(holdersWith(maps(ANONYMOUS), links)).toEqual([]);
});
