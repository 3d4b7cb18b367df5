/** What of a machine goes with a device: the disks and interfaces are stacked in each way people stack them. */
import fs from 'node:fs';
import os from 'node:os';
import { usesOf } from '../../src/pci/in-use';
import { readPciDevice } from '../../src/pci/sysfs';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { DEV } from './fake-machine-paths';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

const BDF = '0000:02:00.0';
const OWN = `sys/devices/pci0000:02/${BDF}`;

afterAll(removeMachine);

function usesWith(
  files: NonNullable<FakeMachine['files']>,
  links: NonNullable<FakeMachine['links']>,
): string[] {
  const device = { id: '144d:a80a', class: '010802', driver: 'nvme', group: 1 };
  bootMachine({ devices: { [BDF]: device }, files, links });
  return usesOf(readPciDevice(BDF)).map(({ text }) => text);
}

const mounts = (number: string, source: string, on = '/') => ({
  'proc/self/mountinfo': `29 1 ${number} / ${on} rw,relatime shared:1 - btrfs ${source} rw\n`,
});

describe('disks', () => {
  const disk = `${OWN}/nvme/nvme0/nvme0n1`;
  const partition = {
    [`${disk}/nvme0n1p2/partition`]: '2\n',
    [`${disk}/nvme0n1p2/dev`]: '259:2\n',
  };
  const ownLinks = {
    'sys/class/block/nvme0n1': disk,
    'sys/class/block/nvme0n1p2': `${disk}/nvme0n1p2`,
  };
  const mapper = {
    ...{ ...partition, 'dev/dm-0': '', 'sys/devices/virtual/block/dm-0/dev': '254:0\n' },
    [`${disk}/nvme0n1p2/holders/dm-0`]: '',
  };
  const mapperLinks = {
    ...{ ...ownLinks, 'sys/class/block/dm-0': 'sys/devices/virtual/block/dm-0' },
    'dev/mapper/luks-root': 'dev/dm-0',
  };

  test('btrfs, whose number is its own, on an encrypted partition', () => {
    expect(
      usesWith({ ...mapper, ...mounts('0:30', '/dev/mapper/luks-root') }, mapperLinks),
    ).toEqual(['dm-0 is mounted on /']);
  });

  test('a source with a space in its name', () => {
    expect(
      usesWith(
        { ...mapper, ...mounts('0:30', '/dev/mapper/my\\040disk') },
        { ...mapperLinks, 'dev/mapper/my disk': 'dev/dm-0' },
      ),
    ).toEqual(['dm-0 is mounted on /']);
  });

  test('swap space on a volume', () => {
    const swaps = { 'proc/swaps': 'Filename Type\n/dev/mapper/luks-root partition 1 0 -2\n' };
    expect(usesWith({ ...mapper, ...swaps }, mapperLinks)).toEqual(['dm-0 is swap space']);
  });

  test('a partition of a RAID', () => {
    const raid = 'sys/devices/virtual/block/md127';
    const files = {
      ...{ ...partition, [`${disk}/nvme0n1p2/holders/md127`]: '', [`${raid}/dev`]: '9:127\n' },
      ...{ [`${raid}/md127p1/partition`]: '1\n', [`${raid}/md127p1/dev`]: '259:9\n' },
      ...mounts('259:9', '/dev/md127p1', '/home'),
    };
    const links = {
      ...{ ...ownLinks, 'sys/class/block/md127': raid },
      'sys/class/block/md127p1': `${raid}/md127p1`,
    };
    expect(usesWith(files, links)).toEqual(['md127p1 is mounted on /home']);
  });

  test('a namespace behind native multipath of NVMe', () => {
    const path = `${OWN}/nvme/nvme1/nvme1c1n1`;
    const head = 'sys/devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1';
    const files = {
      ...{ [`${path}/hidden`]: '1\n', [`${head}/dev`]: '259:0\n' },
      ...{ [`${head}/nvme1n1p2/partition`]: '2\n', [`${head}/nvme1n1p2/dev`]: '259:2\n' },
      ...mounts('259:2', '/dev/nvme1n1p2'),
    };
    const links = {
      ...{ 'sys/class/block/nvme1c1n1': path, 'sys/class/block/nvme1n1': head },
      'sys/class/block/nvme1n1p2': `${head}/nvme1n1p2`,
    };
    expect(usesWith(files, links)).toEqual(['nvme1n1p2 is mounted on /']);
  });

  // The second disk of a btrfs RAID, ZFS, a mount of a container: in no table that can be read here.
  test('what the kernel has claimed for what no table shows', () => {
    const open = jest.spyOn(fs, 'openSync');
    const real = open.getMockImplementation() ?? jest.requireActual('node:fs').openSync;
    open.mockImplementation((path, flags, mode) => {
      const exclusive = typeof flags === 'number' && (flags & fs.constants.O_EXCL) !== 0;
      if (exclusive && path === `${DEV}/nvme0n1p2`)
        throw Object.assign(new Error(), { code: 'EBUSY' });
      return real(path, flags, mode);
    });
    try {
      expect(usesWith({ ...partition, 'dev/nvme0n1': '', 'dev/nvme0n1p2': '' }, ownLinks)).toEqual([
        'nvme0n1p2 is claimed, by a file system, RAID or volume manager',
      ]);
    } finally {
      open.mockRestore();
    }
  });

  test('a disk that nobody uses', () => {
    expect(
      usesWith({ ...partition, ...mounts('8:1', '/dev/sda1'), 'dev/nvme0n1': '' }, ownLinks),
    ).toEqual([]);
  });
});

describe('the network', () => {
  const net = `${OWN}/net/eth0`;
  /** eth0 is a port of bond0, which is a port of vmbr0; the last names a loop, which must not hang. */
  const stack = {
    ...{ [`${net}/flags`]: '0x1003\n', [`${net}/upper_bond0/flags`]: '' },
    'sys/class/net/bond0/upper_vmbr0/flags': '',
    'sys/class/net/vmbr0/upper_bond0/flags': '',
  };
  const links = { 'sys/class/net/eth0': net };

  test('the default route is two levels up', () => {
    const route = { 'proc/net/route': 'vmbr0 00000000 0100000A 0003 0 0 100 00000000 0 0 0\n' };
    expect(usesWith({ ...stack, ...route }, links)).toEqual([
      'eth0 (part of vmbr0) has the default route',
    ]);
  });

  describe('an SSH session', () => {
    const addresses = { vmbr0: ['192.0.2.7', 'fe80::7'], eth9: ['192.0.2.9'] };
    const connection = process.env.SSH_CONNECTION;
    beforeAll(() => {
      delete process.env.SSH_CONNECTION;
      const infos = Object.entries(addresses).map(([name, all]) => [
        name,
        all.map((address) => ({ address })),
      ]);
      jest.spyOn(os, 'networkInterfaces').mockReturnValue(Object.fromEntries(infos));
    });
    afterAll(() => {
      jest.restoreAllMocks();
      if (connection !== undefined) process.env.SSH_CONNECTION = connection;
    });

    /** As under sudo: the shell above it has the variable, and sudo itself does not. */
    const session = (server: string) => ({
      [`proc/${process.ppid}/environ`]: 'TERM=xterm\0OLD_SSH_CONNECTION=x\0',
      [`proc/${process.ppid}/status`]: 'Name:\tsudo\nPPid:\t4000123\n',
      'proc/4000123/environ': `HOME=/root\0SSH_CONNECTION=192.0.2.1 50000 ${server} 22\0`,
    });

    test.each(['192.0.2.7', '::ffff:192.0.2.7', 'fe80::7%vmbr0'])('to %s', (server) => {
      expect(usesWith({ ...stack, ...session(server) }, links)).toEqual([
        'eth0 (part of vmbr0) carries this SSH session',
      ]);
    });

    test('to another interface', () => {
      expect(usesWith({ ...stack, ...session('192.0.2.9') }, links)).toEqual([]);
    });
  });
});

describe('virtio', () => {
  test("a share of the host's files, as the root of a guest is", () => {
    const files = { [`${OWN}/virtio3/mount_tag`]: 'vfio-root\0' };
    expect(usesWith(files, {})).toEqual(['virtio3 shares files of the host (vfio-root)']);
  });

  test('a port that a process has open, and not one that none has', () => {
    const ports = `${OWN}/virtio2/virtio-ports`;
    const files = {
      ...{ [`${ports}/vport2p1/name`]: 'control\n', [`${ports}/vport2p2/name`]: 'other\n' },
      ...{ 'dev/vport2p1': '', 'dev/vport2p2': '', 'proc/7/comm': 'agent\n' },
    };
    const links = {
      'sys/class/virtio-ports/vport2p1': `${ports}/vport2p1`,
      'sys/class/virtio-ports/vport2p2': `${ports}/vport2p2`,
      'proc/7/fd/3': 'dev/vport2p1',
    };
    expect(usesWith(files, links)).toEqual(['vport2p1 is open in agent (pid 7) by fd 3']);
  });
});
