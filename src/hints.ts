/** What to do about an error, by situation. One catalogue, so that an error and a diagnosis say the same. */
import { statSync } from 'node:fs';

export const hints = {
  modulesMissing: () =>
    'load the driver: modprobe vfio-pci; the kernel needs CONFIG_VFIO_PCI and an IOMMU that is on ' +
    '(intel_iommu=on, or AMD-Vi enabled in the firmware)',
  noSuchDevice: () => 'lspci -D lists the devices that exist',
  noSuchMdev: () =>
    'mediated devices are made by createMdev(), or by writing a UUID to ' +
    '/sys/class/mdev_bus/*/mdev_supported_types/*/create',
  bridge: () => 'vfio-pci takes no bridges, and one in a group does not block it',
  inUse: () =>
    'unmount it, end the program that has it open, or move the route or session first; --force (or ' +
    '{ force: true }) takes it all the same',
  vfsInUse: (pf: string) =>
    `the VFs of ${pf} would go; --force (or { force: true }) does it all the same`,
  heldOpen: () =>
    'end that process first; --force (or { force: true }) asks it to let go, and waits until it does',
  notBound: (bdf: string, driver: string | undefined) =>
    `${driver === undefined ? 'no driver is' : `the driver ${driver} is`} bound to it; bind vfio-pci: ` +
    `bindDriver('${bdf}') or, as root: echo vfio-pci > /sys/bus/pci/devices/${bdf}/driver_override; ` +
    `${driver === undefined ? '' : `echo ${bdf} > /sys/bus/pci/devices/${bdf}/driver/unbind; `}` +
    `echo ${bdf} > /sys/bus/pci/drivers_probe`,
  iommuInFirmware: () => 'enable VT-d, AMD-Vi (IOMMU) or the SMMU in the firmware set-up',
  iommuInDeviceTree: () =>
    `see that the device tree has the SMMU enabled, and PCI behind it (iommu-map); ${hints.iommuLog()}`,
  iommuFaulty: () => `${hints.iommuLog()}; a newer firmware may describe it without faults`,
  iommuLog: () => 'dmesg | grep -iE "dmar|amd-vi|ivrs|smmu|iommu" tells what the kernel found',
  noIommuGroup: () =>
    'the kernel put no IOMMU in front of it: enable VT-d (and boot with intel_iommu=on), AMD-Vi or the ' +
    `SMMU in the firmware; vfio doctor tells what is missing; ${hints.iommuLog()}`,
  acsOverride: () =>
    'IOMMU groups are as the command line has them, not as the hardware isolates: devices of different ' +
    'groups may reach each other past the IOMMU',
  unprotected: () =>
    'no IOMMU is in front of it: it reaches all memory, and who has it could take over the machine; opened ' +
    "with { unsafe: 'noiommu' } only",
  groupNotViable: (group: number, blockers: readonly string[]) =>
    `every device of IOMMU group ${group} must be bound to vfio-pci or to no driver; these block: ` +
    (blockers.length > 0 ? blockers.join(', ') : 'none that sysfs shows'),
  interruptRemapping: () =>
    'enable interrupt remapping (or x2APIC) in the firmware set-up; or let VFIO work without it',
  firmwareMemory: () =>
    'turn off in the firmware set-up what shares memory with it (management, legacy USB)',
  groupOwned: () =>
    'another iommufd has a device of its IOMMU group (that of another process, or another address space), ' +
    'or its interrupts cannot be isolated: interrupt remapping is off',
  groupBusy: (path: string, holders: readonly string[]) =>
    `${path} can be opened once, and stays busy until the device, the group and every mapping of a ` +
    `BAR are gone; ${
      holders.length > 0
        ? `held by ${holders.join(', ')}`
        : 'fuser -v shows the holder (root sees all processes); one that was killed is still ending for a ' +
          'few seconds: try again, or openDevice(bdf, { waitMs: 5000 })'
    }`,
  openHere: (device: string) =>
    `this thread has ${device} open: use the Device that openDevice() returned, or close() it first`,
  groupInContainer: () =>
    'the descriptor is of a group that another thread or process uses already: one group has one container',
  groupPermission: (path: string, group: number): string =>
    isRoot()
      ? hints.nodeRefused(path)
      : `${path} is not accessible for uid ${process.getuid?.()}; a udev rule gives it away: ` +
        `SUBSYSTEM=="vfio", KERNEL=="${group}", OWNER="USER" (then: udevadm trigger)`,
  vfToken: (pf: string) =>
    `ask who has ${pf} open for its UUID: openDevice(bdf, { vfToken }); or set one by vfio sriov ${pf} N ` +
    '--vf-token UUID',
  tokenRequired: () =>
    'its PF is owned by a vfio driver with a VF token, and none or another one was given; pass the ' +
    'same UUID that the PF was opened with: openDevice(bdf, { vfToken }). Also for a PF that is opened ' +
    'while VFs are in use',
  tokenNotTaken: () =>
    'the kernel refused an option of the name: a VF token is taken only by a PF with SR-IOV and by ' +
    'a VF whose PF is bound to vfio-pci; no other option than vf_token=UUID exists',
  badUuid: () =>
    "a VF token is a UUID like '2ab74924-c335-45f4-9b16-8569e5b08258' (crypto.randomUUID())",
  badBdf: () => "a PCI address is DOMAIN:BUS:DEVICE.FUNCTION in hex, like '0000:01:00.0'",
  memlock: (need: number, locked: number, limit: number) =>
    pinned(`the limit is ${limit} bytes, ${locked} are pinned, and ${need} more were asked for`),
  memlockLimit: (limit: number) => pinned(`the limit is ${limit} bytes`),
  memlockUnknown: () =>
    'whether it is RLIMIT_MEMLOCK cannot be said, as /proc/self cannot be read: see ulimit -l, or free memory',
  memlockOfUser: () =>
    "iommufd counts what all processes of the user have pinned, unless { accounting: 'process' }",
  denylist: () =>
    'the kernel keeps it out for its errata; for a trusted user: load vfio-pci again with ' +
    'disable_denylist=1 (unload it first, or reboot)',
  behindController: (bdf: string) =>
    `give ${bdf} away as a whole, with all that is behind it, or turn the controller (VMD) off in the ` +
    'firmware set-up: its drives then are devices of their own',
  unplacedBar: () =>
    'enable "Above 4G decoding" in the firmware set-up, or boot with pci=realloc; see dmesg | grep BAR',
  passNode: (path: string) =>
    `pass the nodes into the container: --device ${path}, and /dev/vfio/vfio or /dev/iommu; outside of a ` +
    'container udev makes them',
  nodeRefused: (path: string) =>
    `${path} is refused to root: the device cgroup of a container does not allow it (--device ${path}), or ` +
    'a security module forbids it',
  noPci: () => '/sys is not mounted, the container hides it, or the machine has no PCI',
  mountProc: () =>
    'mount /proc: mount -t proc proc /proc; without it, limits and processes are not seen',
  container: () =>
    'a container, it seems: devices are bound outside of it, /dev/vfio/vfio and the nodes of the device ' +
    'are passed in (--device), and its memlock limit is its own (--ulimit memlock=-1)',
  memory: () => 'free memory, or use huge pages, which need fewer page tables',
  mappings: () =>
    'one container has 65,535 mappings (vfio_iommu_type1.dma_entry_limit); use dma.pool(), which puts ' +
    'many buffers on one mapping, or fewer and larger buffers',
  guards: () =>
    'too many files (dma.mapFile) and BARs are mapped at the same time by this process: close some, or map ' +
    'larger parts of fewer files',
  unpinnable: () =>
    'memory behind the end of its file cannot be pinned, nor can a BAR by its address under iommufd: there, ' +
    "a space of { backend: 'iommufd' } takes it by dma.mapRegion()",
  hugePages: (size: number) =>
    `reserve some: echo N > /sys/kernel/mm/hugepages/hugepages-${size >> 10}kB/nr_hugepages, or ` +
    `hugepagesz=${size >> 20}M hugepages=N on the kernel command line (the only way for 1 GiB on a machine ` +
    'that has run for long)',
  deviceGone: () =>
    'the device does not answer: memory decoding is off (PCI_COMMAND), it is in a low-power state, ' +
    'or it was unplugged; after a reset or once decoding is on again, call region.restore()',
  hotResetBlocked: (blockers: readonly string[]) =>
    `all devices on it have to be bound to vfio-pci, and open here (by groups: one of each group; by ` +
    `iommufd: all in address spaces of one iommufd); in the way: ${blockers.join('; ')}`,
  losesWork: (driver: string) =>
    `what ${driver} has under way would be lost; unbind it first, or say --force`,
  kernelRefused: () => "see dmesg for the kernel's reason",
  noBusReset: () => 'devices on the root bus have no bus reset; reset() may be there',
  busReset: (others: readonly string[] | undefined) =>
    others === undefined
      ? 'it is on a root bus, which has no reset either'
      : 'only its bus may have a reset, for all devices on it: device.hotReset(), with all bound to ' +
        `vfio-pci${others.length > 0 ? `: ${others.join(', ')}` : ''}`,
  restoreBinding: (bdf: string) =>
    `vfio restore ${bdf} gives it back: to the driver it had, or to the one that the kernel chooses`,
  sriovDisabled: () =>
    'vfio-pci allows VFs only if it was loaded with enable_sriov=1: modprobe vfio-pci enable_sriov=1, ' +
    'or echo Y > /sys/module/vfio_pci/parameters/enable_sriov and bind the device again',
  rawAccess: () =>
    'nothing, for VFIO alone; for raw access: turn secure boot off in the firmware set-up, or take ' +
    'lockdown= from the kernel command line, whichever turned it on',
  anotherKernel: (options: string) =>
    `install a kernel with ${options}, as most distributions have`,
  nodePermission: (path: string): string =>
    isRoot()
      ? hints.nodeRefused(path)
      : `${path} is not accessible for uid ${process.getuid?.()}; a udev rule gives it away: ` +
        'SUBSYSTEM=="vfio-dev", OWNER="USER" (then: udevadm trigger); /dev/iommu and /dev/vfio/vfio need ' +
        'SUBSYSTEM=="misc", KERNEL=="iommu|vfio", MODE="0666"',
  oneSpacePerGroup: () =>
    'devices of one group share one address space: leave the option out, or close the other device',
  noIommu: () =>
    'devices then reach all memory, and the kernel is tainted: write Y to ' +
    '/sys/module/vfio/parameters/enable_unsafe_noiommu_mode (as root), bind the device again, and open it ' +
    "with { unsafe: 'noiommu' }",
  noiommuPermission: (path: string): string =>
    isRoot()
      ? hints.nodeRefused(path)
      : `${path} takes root (CAP_SYS_RAWIO), whoever owns it: its devices reach all memory`,
  writeRefused: (path: string) =>
    isRoot()
      ? `writing ${path} is refused to this root: it is root of a container (do it outside of it), or a ` +
        'security module or kernel lockdown forbids it'
      : `writing ${path} needs root`,
  readOnly: (path: string) =>
    `the file system of ${path} is mounted read-only, as in a container: do it outside of the container`,
  openFiles: () => {
    const open = openDescriptors();
    return (
      `the limit of open files is reached${open === undefined ? '' : ` (${open} are open in this process)`}: ` +
      'close some, or raise it: ulimit -n, LimitNOFILE= in a systemd unit, --ulimit nofile= for a container'
    );
  },
  deviceLeft: () => 'the device, or its driver, is no longer there: it was unplugged or unbound',
  noRoomForVfs: () =>
    'the platform has too few MSI-X vectors, bus numbers or addresses for that many VFs: try fewer; see ' +
    "dmesg for the kernel's reason",
  vfsNotBack: () =>
    "vfio restore tries again, vfio sriov sets the number; see dmesg for the kernel's reason",
  noSriovDriver: () =>
    'no driver is bound to the PF: only a driver with SR-IOV makes VFs; load the one of the device, or ' +
    'bind vfio-pci, loaded with enable_sriov=1',
  driverWithoutSriov: (driver: string) =>
    `the driver ${driver} has no SR-IOV, or has it turned off: bind a driver that makes VFs, such as ` +
    'vfio-pci, loaded with enable_sriov=1',
} as const;

const isRoot = () => process.geteuid?.() === 0;

/** undefined where /proc is not mounted, or the kernel does not count them. */
function openDescriptors(): number | undefined {
  try {
    // Since Linux 6.2; reading the directory would take a descriptor.
    return statSync('/proc/self/fd').size || undefined;
  } catch {
    return undefined;
  }
}

function pinned(numbers: string): string {
  return (
    `pinned memory counts against RLIMIT_MEMLOCK: ${numbers}; raise it: "USER - memlock unlimited" in ` +
    '/etc/security/limits.conf, LimitMEMLOCK=infinity in a systemd unit, --ulimit memlock=-1 for a ' +
    'container; CAP_IPC_LOCK of the first user namespace is not bound by it'
  );
}
