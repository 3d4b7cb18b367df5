/** Whoever uses a device, in whatever way, is not robbed of it by any function that takes it away. */
import { resetDevice } from '../../src/device/reset';
import { changeVfs, planVfs } from '../../src/device/sriov-change';
import { bindDevices, bindDriver, planBind } from '../../src/pci/binding/bind-transaction';
import { planRestore, restoreDevices } from '../../src/pci/binding/restore';
import { Sriov } from '../../src/pci/sriov';
import { readPciDevice } from '../../src/pci/sysfs';
import { bootDriverCore, writes } from './fake-driver-core';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';
import { ROOT } from './fake-machine-paths';

jest.mock('../../src/native', () => require('./fake-native'));
jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));
jest.mock('../../src/pci/blocking-write', () => require('./fake-driver-core'));
// Taking it each time would cost a process.
jest.mock('../../src/pci/binding/state-lock', () => ({
  withStateLock: (change: () => Promise<unknown>) => change(),
}));

afterAll(removeMachine);

const PF = '0000:03:00.0';
const VF = '0000:03:10.0';
/** Its driver is not the kernel's choice, so that a restore moves it. */
const OTHER = 'uio_pci_generic';

interface Way {
  readonly files?: NonNullable<FakeMachine['files']>;
  readonly links?: NonNullable<FakeMachine['links']>;
}

const inDevice = (bdf: string) => `sys/devices/pci0000:03/${bdf}`;
const holder = (target: string): Way => ({
  files: { 'proc/77/comm': 'user\n' },
  links: { 'proc/77/fd/5': target },
});

/** A node by its place in sysfs and in /dev; the kernel reports the latter in `uevent`. */
const node = (bdf: string, directory: string, file: string, uevent = ''): Way => ({
  files: {
    ...holder('').files,
    [`${inDevice(bdf)}/${directory}/dev`]: '240:7\n',
    [`${inDevice(bdf)}/${directory}/uevent`]: uevent,
    [`dev/${file}`]: '',
  },
  links: { 'proc/77/fd/5': `dev/${file}` },
});
const interfaceOf = (bdf: string, file: string, text: string): Way => ({
  files: {
    [`${inDevice(bdf)}/net/eth7/flags`]: '0x1003\n',
    [`${inDevice(bdf)}/net/eth7/ifindex`]: '7\n',
    [file]: text,
  },
  links: { 'sys/class/net/eth7': `${inDevice(bdf)}/net/eth7` },
});
const maps = (file: string): Way => ({
  files: { ...holder('').files, 'proc/77/maps': `7f00-7f10 rw-s 00000000 00:05 9   ${file}\n` },
});

const disk = (bdf: string): NonNullable<FakeMachine['links']> => ({
  'sys/class/block/nvme0n1': `${inDevice(bdf)}/nvme/nvme0/nvme0n1`,
});

const ways: Readonly<Record<string, (bdf: string) => Way>> = {
  'a disk that is open': (bdf) => node(bdf, 'nvme/nvme0/nvme0n1', 'nvme0n1'),
  'a partition that is open': (bdf) => node(bdf, 'nvme/nvme0/nvme0n1/nvme0n1p1', 'nvme0n1p1'),
  'a volume on it that is open': (bdf) => ({
    files: {
      ...holder('').files,
      [`${inDevice(bdf)}/nvme/nvme0/nvme0n1/holders/dm-3`]: '',
      'sys/class/block/dm-3/dev': '254:3\n',
      'dev/dm-3': '',
    },
    links: { ...disk(bdf), 'proc/77/fd/5': 'dev/dm-3' },
  }),
  'its control node': (bdf) => node(bdf, 'nvme/nvme0', 'nvme0'),
  'a render node': (bdf) => node(bdf, 'drm/renderD128', 'dri/renderD128', 'DEVNAME=dri/renderD128'),
  'a card that is mapped': (bdf) => ({
    files: { ...node(bdf, 'drm/card0', 'dri/card0').files, ...maps(`${ROOT}/dev/dri/card0`).files },
  }),
  'a sound card': (bdf) =>
    node(bdf, 'sound/card1/pcmC1D0p', 'snd/pcmC1D0p', 'DEVNAME=snd/pcmC1D0p'),
  'a sound card whose node is not reported': (bdf) =>
    node(bdf, 'sound/card1/pcmC1D0p', 'snd/pcmC1D0p'),
  'a keyboard of a USB controller': (bdf) =>
    node(bdf, 'usb1/1-1/1-1:1.0/0003:1:2.1/input/input3/event3', 'input/event3'),
  'a serial port': (bdf) => node(bdf, 'tty/ttyS4', 'ttyS4'),
  'a clock': (bdf) => node(bdf, 'ptp/ptp0', 'ptp0'),
  'verbs of RDMA': (bdf) =>
    node(bdf, 'infiniband_verbs/uverbs0', 'infiniband/uverbs0', 'DEVNAME=infiniband/uverbs0'),
  UIO: (bdf) => node(bdf, 'uio/uio0', 'uio0'),
  'a GPU of the proprietary driver': (bdf) => ({
    files: {
      ...holder('').files,
      [`proc/driver/nvidia/gpus/${bdf}/information`]: 'Model: x\nDevice Minor: \t 2\n',
      'dev/nvidia2': '',
    },
    links: { 'proc/77/fd/5': 'dev/nvidia2' },
  }),
  'a BAR that is mapped': (bdf) => maps(`${ROOT}/${inDevice(bdf)}/resource0`),
  'a mediated device of it': (bdf) => ({
    files: { ...holder('').files, [`${inDevice(bdf)}/aaaa/mdev_type/x`]: '', 'dev/vfio/90': '' },
    links: {
      [`${inDevice(bdf)}/aaaa/iommu_group`]: 'sys/kernel/iommu_groups/90',
      'proc/77/fd/5': 'dev/vfio/90',
    },
  }),
  'its group': (_bdf) => ({ ...holder('dev/vfio/20') }),
  'the default route': (bdf) =>
    interfaceOf(bdf, 'proc/net/route', 'eth7 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n'),
  'another route': (bdf) =>
    interfaceOf(bdf, 'proc/net/route', 'eth7 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n'),
  'a route of IPv6': (bdf) =>
    interfaceOf(
      bdf,
      'proc/net/ipv6_route',
      `20010db8${'0'.repeat(24)} 40 ${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00000100 0 0 00000001 eth7\n`,
    ),
  'a packet socket': (bdf) =>
    interfaceOf(
      bdf,
      'proc/net/packet',
      'sk RefCnt Type Proto Iface R Rmem User Inode\n0000 3 3 0003 7 1 0 0 9\n',
    ),
};

/** In the way of none of them. */
const harmless: Readonly<Record<string, (bdf: string) => Way>> = {
  'a node that nobody has open': (bdf) => ({ files: node(bdf, 'nvme/nvme0', 'nvme0').files! }),
  'the node of another device': (bdf) => ({
    files: { ...node(bdf, 'nvme/nvme0', 'nvme0').files, 'dev/nvme1': '' },
    links: { 'proc/77/fd/5': 'dev/nvme1' },
  }),
  'link-local and multicast routes': (bdf) =>
    interfaceOf(
      bdf,
      'proc/net/ipv6_route',
      ['fe80', 'ff00']
        .map((to) => `${to}${'0'.repeat(28)} 40 0 00 0 00000100 0 0 00000001 eth7\n`)
        .join(''),
    ),
};

function boot(bdf: string, { files = {}, links = {} }: Way): void {
  const common = { group: 20, id: '8086:10c9', class: '020000', driver: OTHER } as const;
  bootMachine({
    devices: {
      [PF]: {
        ...common,
        attributes: {
          sriov_totalvfs: '7\n',
          sriov_numvfs: '1\n',
          driver_override: `${OTHER}\n`,
          reset: '',
          reset_method: 'flr\n',
        },
      },
      [VF]: { ...common, driver: 'igbvf', group: 22, pf: PF },
    },
    files: { 'dev/vfio/20': '', 'dev/vfio/22': '', 'run/vfio/lock': '', ...files },
    links:
      bdf === VF && links['proc/77/fd/5'] === 'dev/vfio/20'
        ? { 'proc/77/fd/5': 'dev/vfio/22' }
        : links,
  });
  bootDriverCore({ [PF]: 'igb', [VF]: 'igbvf' });
}

type Take = (force: { force?: boolean }) => Promise<unknown>;

const failed = (done: readonly { error: Error | null }[]) => {
  for (const { error } of done) if (error) throw error;
};

/** All that unbind, or make lose its work, the device (or its VFs, where its driver or number changes). */
const takes: Readonly<Record<string, Take>> = {
  bindDriver: ({ force = false }) => bindDriver(PF, 'vfio-pci', { force }),
  bindDevices: (force) => bindDevices([PF], force),
  planBind: async (force) => planBind([PF], force),
  restoreDevices: async ({ force }) => failed(await restoreDevices([PF], force)),
  planRestore: async ({ force }) => failed(await planRestore([PF], force)),
  resetDevice: (force) => resetDevice(PF, force),
};

const takesVfs: Readonly<Record<string, Take>> = {
  bindDriver: takes.bindDriver!,
  restoreDevices: takes.restoreDevices!,
  resetDevice: takes.resetDevice!,
  setNumVfs: (force) => new Sriov(PF).setNumVfs(3, force),
  changeVfs: (force) => changeVfs(PF, 3, force),
  planVfs: async (force) => planVfs(PF, 0, force),
};

const inUse = expect.objectContaining({
  name: 'VfioError',
  code: 'EBUSY',
  message: expect.stringMatching(/in use|is open in/),
  hint: expect.stringMatching(/force/),
});

describe.each(Object.entries(ways))('%s', (_, way) => {
  test.each(Object.entries(takes))('refused by %s, unless forced', async (_name, take) => {
    boot(PF, way(PF));
    await expect(take({})).rejects.toEqual(inUse);
    expect(writes()).toEqual([]);
    await expect(take({ force: true })).resolves.not.toThrow();
  });

  test.each(Object.entries(takesVfs))(
    'of a VF: refused by %s, unless forced',
    async (_name, take) => {
      boot(VF, way(VF));
      await expect(take({})).rejects.toEqual(inUse);
      expect(writes()).toEqual([]);
      await expect(take({ force: true })).resolves.not.toThrow();
    },
  );
});

describe.each(Object.entries(harmless))('%s', (_, way) => {
  test.each(Object.entries(takesVfs))('is not in the way of %s', async (name, take) => {
    boot(PF, way(PF));
    // A driver of the kernel is asked for its leave by a reset anyway.
    await (name === 'resetDevice' ? expect(take({})).rejects.toThrow(OTHER) : take({}));
  });
});

test.each(Object.entries(ways))('Binding.restore() is refused for %s, too', async (_, way) => {
  boot(PF, way(PF));
  const binding = await bindDriver(PF, 'igb', { force: true });
  await expect(binding.restore()).rejects.toEqual(inUse);
  expect(readPciDevice(PF).driver).toBe('igb');
  await binding.restore({ force: true });
  expect(readPciDevice(PF).driver).toBe(OTHER);
});
