import { Command } from 'commander';
import { VfioError } from '../errors';
import { readPciNames } from '../pci/ids';
import { describeDevice, describeDevices, type ListedDevice } from '../pci/inventory';
import type { Readiness } from '../pci/readiness';
import { printable } from '../printable';
import { type Cell, type Colours, coloursFor, jsonText, type Output, tableText } from './output';
import { run, status } from './run';

interface ListFlags {
  json?: true;
  class?: string;
  driver?: string;
  group?: string;
}

/** `vfio list`: the PCI devices, and which are ready for user space. */
export function listCommand(output: Output = process.stdout): Command {
  return new Command('list')
    .description('list the PCI devices: names, driver, IOMMU group, readiness for VFIO, SR-IOV')
    .option('--class <CLASS>', 'only of a class: its first hex digits (02) or a part of its name')
    .option('--driver <NAME>', "only bound to a driver; 'none' for those without")
    .option('--group <N>', 'only of an IOMMU group')
    .option('--json', 'as a JSON array')
    .action((flags: ListFlags) =>
      run({ output, json: flags.json }, () => {
        const names = readPciNames();
        const devices = describeDevices((pci) => describeDevice(pci, names));
        const listed = devices.filter(filterOf(flags));
        output.write(flags.json ? jsonText(listed) : listText(listed, coloursFor(output)));
        return status.ok;
      }),
    );
}

function filterOf({ class: wanted, driver, group }: ListFlags): (device: ListedDevice) => boolean {
  if (group !== undefined && !/^\d+$/.test(group)) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `not an IOMMU group: ${group}`, {
      hint: 'groups are numbers: ls /sys/kernel/iommu_groups',
    });
  }
  const part = wanted?.toLowerCase();
  const inClass = (device: ListedDevice) =>
    part === undefined ||
    device.class.toString(16).padStart(6, '0').startsWith(part) ||
    (device.className ?? '').toLowerCase().includes(part);
  return (device) =>
    inClass(device) &&
    (driver === undefined || (device.driver ?? 'none') === driver) &&
    (group === undefined || device.iommuGroup === Number(group));
}

const digits = (value: number, count: number) => value.toString(16).padStart(count, '0');

/** `Intel Corporation 82576 Gigabit Network Connection [8086:10c9]`. */
export function deviceTitle({ vendor, device, ...named }: ListedDevice): string {
  const names = [named.vendorName, named.deviceName ?? named.className];
  const ids = `[${digits(vendor, 4)}:${digits(device, 4)}]`;
  return [...names.filter((name) => name !== null), ids].join(' ');
}

export function sriovText(sriov: ListedDevice['sriov']): string {
  if (sriov === null) return '-';
  if (sriov.role === 'pf') return `PF ${sriov.numVfs}/${sriov.totalVfs}`;
  return `VF ${sriov.index} of ${sriov.pf}`;
}

const paints: Readonly<Record<Readiness, 'green' | 'red' | 'yellow' | 'dim'>> = {
  ready: 'green',
  blocked: 'red',
  unbound: 'yellow',
  'no-iommu': 'red',
  unprotected: 'red',
  bridge: 'dim',
};

function listText(devices: readonly ListedDevice[], colours: Colours): string {
  if (devices.length === 0) return 'no such PCI device\n';
  const numa = devices.some(({ numaNode }) => numaNode !== null);
  const header = [
    'ADDRESS',
    'DRIVER',
    'GROUP',
    'VFIO',
    'SR-IOV',
    ...(numa ? ['NUMA'] : []),
    'DEVICE',
  ];
  const rows = devices.map((device): (string | Cell)[] => [
    device.bdf,
    device.driver ?? '-',
    String(device.iommuGroup ?? '-'),
    { text: device.readiness, paint: colours[paints[device.readiness]] },
    sriovText(device.sriov),
    ...(numa ? [String(device.numaNode ?? '-')] : []),
    deviceTitle(device),
  ]);
  const groups = new Map<number | null, Set<string>>();
  for (const { iommuGroup, blockers } of devices) {
    if (blockers.length === 0) continue;
    groups.set(iommuGroup, new Set([...(groups.get(iommuGroup) ?? []), ...blockers]));
  }
  const notes = [...groups].map(
    ([group, by]) => `group ${group} is blocked by ${[...by].map(printable).join(', ')}\n`,
  );
  return (
    tableText([header.map((text) => ({ text, paint: colours.bold })), ...rows]) + notes.join('')
  );
}
