import { join } from 'node:path';
import { SHARES } from '../guest/places';
import { CHANNELS, type Channel, portName, portSocket, SLOTS } from '../guest/ports';
import type { Accelerator } from './accelerator';
import { deviceArguments } from './devices';
import type { Iommu } from './iommu';

/** Descriptors that QEMU inherits: one end of a socket pair each, for the process that starts it. */
export const DESCRIPTORS = { qmp: 4, console: 5 } as const;

/** Files in the VM's directory. */
export const PID_FILE = 'pid';
export const CONSOLE_LOG = 'console.log';
/** A monitor for whoever did not start the VM. */
export const MONITOR_SOCKET = 'monitor';

/** One virtual machine. */
export interface Machine {
  /** The VM's own, for its sockets. */
  directory: string;
  /** What the guest sees as the host's root directory. */
  root: string;
  accelerator: Accelerator;
  iommu: Iommu;
  /** As QEMU writes it, such as `2G`. */
  memory: string;
  cpus: number;
  /** Device specs; see deviceArguments(). */
  devices: readonly string[];
  kernelImage: string;
  initramfs: string;
  /** Kernel parameters that are added to the lab's own. */
  append: string | undefined;
  /** The writable directory, if any. */
  out: string | undefined;
  /** Further arguments for QEMU itself. */
  qemuArgs: readonly string[];
}

/** QEMU's arguments for a machine. */
export function qemuArguments(machine: Machine): string[] {
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...accelerated(machine.accelerator),
    ...['-cpu', 'max', '-smp', String(machine.cpus), '-m', machine.memory],
    // Without this, the kernel finds that a reset of the link below a port does not come back up.
    ...['-global', 'pcie-root-port.x-speed=5'],
    ...machine.iommu.arguments,
    ...['-pidfile', join(machine.directory, PID_FILE)],
    ...['-chardev', `socket,id=qmp,fd=${DESCRIPTORS.qmp}`, '-mon', 'chardev=qmp,mode=control'],
    ...server('monitor', join(machine.directory, MONITOR_SOCKET)),
    ...['-mon', 'chardev=monitor,mode=control'],
    ...[
      '-chardev',
      `socket,id=console,fd=${DESCRIPTORS.console},logfile=${escaped(join(machine.directory, CONSOLE_LOG))}`,
    ],
    ...['-serial', 'chardev:console'],
    // The lab's own devices are at the end of the bus; the first slots are for those under test.
    ...ports(machine.directory),
    ...share(SHARES.root, machine.root, 'readonly=on,', '0x1d'),
    ...(machine.out === undefined ? [] : share(SHARES.out, machine.out, '', '0x1e')),
    ...deviceArguments(machine.devices),
    ...machine.qemuArgs,
    ...['-kernel', machine.kernelImage, '-initrd', machine.initramfs],
    ...['-append', kernelParameters(machine).join(' ')],
  ];
}

/**
 * Parameters of vfio-pci in the guest: a PF it owns may create VFs, and an unused device stays
 * in D0 (a PF in D3cold takes a minute to answer again).
 */
const VFIO_PCI_PARAMETERS = ['vfio_pci.enable_sriov=1', 'vfio_pci.disable_idle_d3=1'];

/** A lab's kernel command line. A kernel bug must end the VM, never look like a success. */
export function kernelParameters({ iommu, append }: Pick<Machine, 'iommu' | 'append'>): string[] {
  return [
    ...['console=ttyS0', 'panic=-1', 'oops=panic', 'softlockup_panic=1', 'watchdog_thresh=30'],
    ...iommu.parameters,
    ...['random.trust_cpu=on', 'mitigations=off'],
    // At boot, the kernel waits some ticks for the timer's interrupt, and panics where a busy host
    // keeps it from coming in time.
    'no_timer_check',
    ...VFIO_PCI_PARAMETERS,
    ...(append === undefined ? [] : append.split(/\s+/).filter(Boolean)),
  ];
}

function accelerated(accelerator: Accelerator): string[] {
  return accelerator === 'kvm'
    ? // Interrupt remapping needs the I/O APIC in QEMU.
      ['-machine', 'q35,kernel-irqchip=split', '-accel', 'kvm']
    : // Each on a thread of its own, processors lose register writes while another changes what is
      // mapped where, as resets do: the guest stops for want of an interrupt, or QEMU aborts in
      // iotlb_to_section() (10.0.2).
      ['-machine', 'q35', '-accel', 'tcg,thread=single'];
}

/**
 * The ports of all slots. QEMU drops what it has to say of them where the guest's 32 buffers for it
 * are full: hence no more than 6 slots. One interrupt for all queues, as a vector for each would take
 * the kernel longer to set up.
 */
function ports(directory: string): string[] {
  const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
  const port = (slot: number, channel: Channel) => {
    const name = portName(slot, channel);
    return [
      ...server(name, portSocket(directory, slot, channel)),
      ...['-device', `virtserialport,bus=vfio-serial.0,chardev=${name},name=${name}`],
    ];
  };
  return [
    ...['-device', 'virtio-serial-pci,id=vfio-serial,addr=0x1c,vectors=2'],
    ...slots.flatMap((slot) => CHANNELS.flatMap((channel) => port(slot, channel))),
  ];
}

/** A socket that programs connect to, one at a time. */
function server(id: string, path: string): string[] {
  return ['-chardev', `socket,id=${id},path=${escaped(path)},server=on,wait=off`];
}

function share(tag: string, path: string, options: string, address: string): string[] {
  return [
    ...[
      '-fsdev',
      `local,id=${tag},path=${escaped(path)},${options}multidevs=remap,security_model=none`,
    ],
    ...['-device', `virtio-9p-pci,fsdev=${tag},mount_tag=${tag},addr=${address}`],
  ];
}

/** As a value among others. */
function escaped(path: string): string {
  return path.replaceAll(',', ',,');
}
