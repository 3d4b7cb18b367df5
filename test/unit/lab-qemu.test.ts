import { CHANNELS, SLOTS } from '../../src/lab/guest/ports';
import { chooseAccelerator } from '../../src/lab/machine/accelerator';
import { deviceArguments, hasIgb } from '../../src/lab/machine/devices';
import { parseIommu } from '../../src/lab/machine/iommu';
import { kernelParameters, type Machine, qemuArguments } from '../../src/lab/machine/qemu';

const machine: Machine = {
  directory: '/run/u,1/lab',
  root: '/run/u,1/lab/view',
  accelerator: 'tcg',
  iommu: parseIommu('intel'),
  memory: '2G',
  cpus: 2,
  devices: ['edu'],
  kernelImage: '/cache/vmlinuz',
  initramfs: '/tmp/initramfs.cpio',
  append: undefined,
  out: undefined,
  qemuArgs: [],
};

/** The values that follow each occurrence of an option. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ''] : []));
}

describe('deviceArguments', () => {
  test('numbers the devices of a preset and gives each its own port and chassis', () => {
    const devices = valuesOf(deviceArguments(['igb', 'igb', 'nvme']), '-device');
    expect(devices.map((device) => device.split(',').slice(0, 2).join(','))).toEqual([
      'pcie-root-port,id=igb0-port',
      'igb,id=igb0',
      'pcie-root-port,id=igb1-port',
      'igb,id=igb1',
      'pcie-root-port,id=nvme0-port',
      'nvme,id=nvme0',
    ]);
    const chassis = devices.flatMap((device) => /chassis=(\d+)/.exec(device)?.[1] ?? []);
    expect(new Set(chassis).size).toBe(3);
    expect(devices[1]).toContain('bus=igb0-port');
  });

  test('appends properties, which win in QEMU because they come last', () => {
    expect(deviceArguments(['edu,dma_mask=0xffffffff,id=mine'])).toEqual([
      '-device',
      'edu,id=edu0,dma_mask=0xffffffff,id=mine',
    ]);
  });

  test('makes one slot with two functions', () => {
    const functions = valuesOf(deviceArguments(['e1000e-pair']), '-device').slice(1);
    expect(functions[0]).toMatch(/bus=e1000e-pair0-port,addr=0\.0,multifunction=on/);
    expect(functions[1]).toMatch(/bus=e1000e-pair0-port,addr=0\.1/);
  });

  test('wires two ports of a card to each other, and not to those of another pair', () => {
    const args = deviceArguments(['igb-pair', 'igb-pair']);
    expect(valuesOf(args, '-netdev')).toEqual([
      'hubport,id=igb-pair0-net0,hubid=1',
      'hubport,id=igb-pair0-net1,hubid=1',
      'hubport,id=igb-pair1-net0,hubid=2',
      'hubport,id=igb-pair1-net1,hubid=2',
    ]);
    const devices = valuesOf(args, '-device');
    const cards = devices.filter((device) => device.startsWith('igb,'));
    expect(cards.map((card) => /netdev=([^,]+)/.exec(card)![1])).toEqual(
      valuesOf(args, '-netdev').map((netdev) => /id=([^,]+)/.exec(netdev)![1]),
    );
    const slots = devices.flatMap((device) => /chassis=\d+,slot=\d+/.exec(device) ?? []);
    expect(new Set(slots).size).toBe(4);
  });

  test('puts a conventional device behind a bridge', () => {
    const [port, bridge, device] = valuesOf(deviceArguments(['e1000-bridge']), '-device');
    expect(port).toMatch(/^pcie-root-port/);
    expect(bridge).toMatch(/^pcie-pci-bridge,id=e1000-bridge0-bus,bus=e1000-bridge0-port/);
    expect(device).toMatch(/^e1000,.*bus=e1000-bridge0-bus/);
  });

  test('passes anything else to QEMU unchanged', () => {
    expect(deviceArguments(['virtio-rng-pci,aer=on'])).toEqual([
      '-device',
      'virtio-rng-pci,aer=on',
    ]);
    // A name from Object.prototype is no preset.
    expect(deviceArguments(['constructor'])).toEqual(['-device', 'constructor']);
  });

  test.each(['', ',id=x', '  '])('refuses %j', (spec) => {
    expect(() => deviceArguments([spec])).toThrow(
      expect.objectContaining({
        code: 'LAB_ARGUMENT',
        hint: expect.stringContaining('e1000e-pair'),
      }),
    );
  });

  test('knows an igb by its properties or without', () => {
    expect(hasIgb(['edu', 'igb,mac=02:00:00:00:00:01'])).toBe(true);
    expect(hasIgb(['edu', 'igb-pair'])).toBe(true);
    expect(hasIgb(['edu', 'igbvf-like'])).toBe(false);
  });
});

describe('qemuArguments', () => {
  test('never offers more than a read-only view of the host without an out directory', () => {
    const shares = valuesOf(qemuArguments(machine), '-fsdev');
    expect(shares).toHaveLength(1);
    expect(shares[0]).toContain('path=/run/u,,1/lab/view,readonly=on');
  });

  test('shares the out directory for writing, with commas in its name', () => {
    const shares = valuesOf(qemuArguments({ ...machine, out: '/a,b' }), '-fsdev');
    expect(shares[1]).toContain('path=/a,,b,');
    expect(shares[1]).not.toContain('readonly');
  });

  test('gives each slot its ports, and a socket to each', () => {
    const args = qemuArguments(machine);
    const ports = valuesOf(args, '-device').filter((device) => /^virtserialport,/.test(device));
    expect(ports).toHaveLength(SLOTS * CHANNELS.length);
    // With more on one controller, QEMU loses messages.
    expect(ports.length).toBeLessThan(31);
    for (const port of ports) {
      const [, chardev] = /chardev=([^,]+)/.exec(port)!;
      const found = valuesOf(args, '-chardev').filter((text) => text.includes(`id=${chardev},`));
      expect(found).toEqual([
        `socket,id=${chardev},path=/run/u,,1/lab/${chardev!.slice(5)},server=on,wait=off`,
      ]);
    }
  });

  test('has no network, no reboot and no configuration of the user', () => {
    const args = qemuArguments(machine);
    expect(args).toEqual(expect.arrayContaining(['-nodefaults', '-no-reboot', '-no-user-config']));
    expect(args).not.toContain('-netdev');
  });

  test('plugs the IOMMU in before every device that it is to translate', () => {
    const devices = valuesOf(qemuArguments(machine), '-device');
    expect(devices[0]).toMatch(/^intel-iommu,.*intremap=on/);
  });

  test('splits the interrupt controller under KVM only', () => {
    expect(valuesOf(qemuArguments({ ...machine, accelerator: 'kvm' }), '-machine')).toEqual([
      'q35,kernel-irqchip=split',
    ]);
    expect(valuesOf(qemuArguments(machine), '-machine')).toEqual(['q35']);
  });

  test("puts the user's arguments after the lab's own", () => {
    const args = qemuArguments({ ...machine, qemuArgs: ['-device', 'VGA'] });
    expect(valuesOf(args, '-device').at(-1)).toBe('VGA');
  });

  test('lets kernel parameters of the user win', () => {
    const parameters = kernelParameters({ ...machine, append: ' panic=5  quiet' });
    expect(parameters).toContain('panic=-1');
    expect(parameters.slice(-2)).toEqual(['panic=5', 'quiet']);
    expect(parameters).toEqual(
      expect.arrayContaining(['vfio_pci.enable_sriov=1', 'vfio_pci.disable_idle_d3=1']),
    );
  });
});

describe('parseIommu', () => {
  test.each([
    ['intel', /^intel-iommu,intremap=on,caching-mode=on$/, 'intel_iommu=on'],
    ['intel,aw-bits=39', /^intel-iommu,.*,aw-bits=39$/, 'intel_iommu=on'],
    [
      'amd,xtsup=off',
      /^amd-iommu,intremap=on,.*,xtsup=off$/,
      'vfio_iommu_type1.allow_unsafe_interrupts=1',
    ],
    ['virtio', /^virtio-iommu-pci,/, 'vfio_iommu_type1.allow_unsafe_interrupts=1'],
    ['none', undefined, 'vfio.enable_unsafe_noiommu_mode=1'],
  ])('%s', (spec, device, parameter) => {
    const iommu = parseIommu(spec);
    expect(valuesOf(iommu.arguments, '-device')).toEqual(
      device ? [expect.stringMatching(device)] : [],
    );
    expect(iommu.parameters[0]).toBe(parameter);
  });

  test.each(['', 'smmu', 'none,x=1', 'toString'])('%j is refused', (spec) => {
    expect(() => parseIommu(spec)).toThrow(
      expect.objectContaining({ code: 'LAB_ARGUMENT', hint: expect.stringContaining('virtio') }),
    );
  });
});

describe('chooseAccelerator', () => {
  const cpuinfo = (flags: string) =>
    `processor\t: 0\nflags\t\t: fpu ${flags} sse2\nbugs\t\t: vmxish\n`;

  test.each([
    ['vmx', true, 'kvm'],
    ['svm', true, 'kvm'],
    ['vmx', false, 'tcg'],
    // A guest with a /dev/kvm that its own CPU cannot back.
    ['hypervisor', true, 'tcg'],
    ['svm_lock', true, 'tcg'],
  ])('%s, /dev/kvm usable: %s -> %s', (flags, kvmUsable, expected) => {
    expect(chooseAccelerator({ cpuinfo: cpuinfo(flags), kvmUsable })).toBe(expected);
  });
});
