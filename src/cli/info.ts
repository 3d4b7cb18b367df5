import { Command } from 'commander';
import { type DeviceDetails, deviceDetails } from '../pci/details';
import { deviceTitle, sriovText } from './list';
import { jsonText, type Output, tableText } from './output';
import { run, status } from './run';

/** `vfio info BDF`: one device in full. */
export function infoCommand(output: Output = process.stdout): Command {
  return new Command('info')
    .description('tell of one device: driver, group, BARs, resets, nodes and who has them open')
    .argument('<BDF>', 'PCI address, 0000:01:00.0')
    .option('--json', 'as a JSON object')
    .action((bdf: string, { json }: { json?: true }) =>
      run({ output, json }, () => {
        const details = deviceDetails(bdf);
        output.write(json ? jsonText(details) : infoText(details));
        return status.ok;
      }),
    );
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `16 KiB`; a size that no unit divides is in bytes. */
export function sizeText(size: number): string {
  let [unit, value] = [0, size];
  while (value >= 1024 && value % 1024 === 0 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value} ${units[unit]}`;
}

/** Other users' processes are hidden from all but root. */
const notOpen = () =>
  process.geteuid?.() === 0
    ? 'not open'
    : 'not open in a process that is visible here (root sees all)';

function infoText(device: DeviceDetails): string {
  const rows: [string, string][] = [
    ['device', deviceTitle(device)],
    ['class', `${device.className ?? 'unknown'} [${device.class.toString(16).padStart(6, '0')}]`],
    ['driver', device.driver ?? 'none'],
    ['driver_override', device.driverOverride ?? 'none'],
    ['VFIO', [device.readiness, ...device.blockers.map((by) => `blocked by ${by}`)].join(', ')],
    ['IOMMU group', String(device.iommuGroup ?? 'none')],
    ...device.groupMembers
      .filter(({ bdf }) => bdf !== device.bdf)
      .map(({ bdf, driver }): [string, string] => ['  with', `${bdf} (${driver ?? 'no driver'})`]),
    ['SR-IOV', device.sriov === null ? 'none' : sriovText(device.sriov)],
    ...device.vfs.map((bdf): [string, string] => ['  VF', bdf]),
    ['NUMA node', String(device.numaNode ?? 'none')],
    ['power state', device.powerState ?? 'unknown'],
    ...(device.link
      ? [['link', `${device.link.current} of ${device.link.max}`] as [string, string]]
      : []),
    ...(device.bars === null ? [['BARs', 'unknown: not readable'] as [string, string]] : []),
    ...(device.bars ?? []).map(
      ({ name, address, size, space, bits, prefetchable }): [string, string] => {
        const kind = space === 'io' ? 'I/O ports' : `memory, ${bits} bits`;
        return [
          name,
          `${sizeText(size)} ${address === null ? 'without an address (not assigned)' : `at ${address}`}, ${kind}${prefetchable ? ', prefetchable' : ''}`,
        ];
      },
    ),
    ['resets', device.resetMethods.join(', ') || 'none'],
    ['capabilities', device.capabilities?.join(', ') ?? 'not readable (root sees all)'],
    ...device.nodes.map(({ path, holders }): [string, string] => [
      'node',
      `${path}, ${holders.length > 0 ? `open in ${holders.join(', ')}` : notOpen()}`,
    ]),
  ];
  return `${device.bdf}\n${tableText(rows.map(([name, value]) => [`  ${name}`, value]))}`;
}
