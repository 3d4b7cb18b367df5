import { LabError } from '../errors';

/** The devices of a lab whose options name none. */
export const DEFAULT_DEVICES: readonly string[] = ['igb', 'edu', 'nvme'];

/** Where a preset puts its device: a unique id, and a chassis number for its root port. */
interface Place {
  id: string;
  chassis: number;
}

/** QEMU's arguments for one device; `properties` is empty or starts with a comma. */
type Preset = (place: Place, properties: string) => string[];

const rootPort = ({ id, chassis }: Place): string[] => [
  '-device',
  `pcie-root-port,id=${id}-port,chassis=${chassis}`,
];

const presets: Readonly<Record<string, Preset>> = {
  /** Intel 82576 with SR-IOV (up to 7 VFs). */
  igb: (place, properties) => [
    ...rootPort(place),
    ...['-device', `igb,id=${place.id},bus=${place.id}-port,romfile=${properties}`],
  ],
  /** Two of them behind a port each, wired to each other by a hub of QEMU's. */
  'igb-pair': (place, properties) =>
    [0, 1].flatMap((n) => [
      ...['-netdev', `hubport,id=${place.id}-net${n},hubid=${place.chassis}`],
      ...['-device', `pcie-root-port,id=${place.id}-port${n},chassis=${place.chassis},slot=${n}`],
      ...[
        '-device',
        `igb,id=${place.id}-${n},bus=${place.id}-port${n},netdev=${place.id}-net${n},romfile=${properties}`,
      ],
    ]),
  /** QEMU's educational device: registers, a DMA engine, INTx and MSI. */
  edu: ({ id }, properties) => ['-device', `edu,id=${id}${properties}`],
  /** NVMe controller whose namespace has no storage behind it: reads give zeros. */
  nvme: (place, properties) => [
    ...['-blockdev', `driver=null-co,node-name=${place.id}-disk,size=1073741824,read-zeroes=on`],
    ...rootPort(place),
    ...[
      '-device',
      `nvme,id=${place.id},bus=${place.id}-port,serial=${place.id},drive=${place.id}-disk${properties}`,
    ],
  ],
  /**
   * NVMe subsystem with SR-IOV (up to 2 VFs) and 256 MiB of storage, which is gone with the VM: what
   * is written is in a file of QEMU's own, unlinked from the start. Up to 1 MiB a command (MDTS 8).
   */
  'nvme-disk': (place, properties) => [
    '-drive',
    `if=none,id=${place.id}-disk,file=null-co://,file.size=268435456,file.read-zeroes=on,format=raw,snapshot=on`,
    ...rootPort(place),
    ...['-device', `nvme-subsys,id=${place.id}-subsys,nqn=${place.id}`],
    ...[
      '-device',
      `nvme,id=${place.id},bus=${place.id}-port,serial=${place.id},subsys=${place.id}-subsys,` +
        `mdts=8,sriov_max_vfs=2,sriov_vq_flexible=8,sriov_vi_flexible=8${properties}`,
    ],
    ...['-device', `nvme-ns,id=${place.id}-ns,bus=${place.id},drive=${place.id}-disk`],
  ],
  /** Two functions of one slot: one IOMMU group with two devices. */
  'e1000e-pair': (place, properties) => [
    ...rootPort(place),
    ...[
      '-device',
      `e1000e,id=${place.id},bus=${place.id}-port,addr=0.0,multifunction=on,romfile=${properties}`,
    ],
    ...['-device', `e1000e,id=${place.id}-fn1,bus=${place.id}-port,addr=0.1,romfile=${properties}`],
  ],
  /** Conventional PCI device behind a bridge: the group holds the bridge, too. */
  'e1000-bridge': (place, properties) => [
    ...rootPort(place),
    ...['-device', `pcie-pci-bridge,id=${place.id}-bus,bus=${place.id}-port`],
    ...['-device', `e1000,id=${place.id},bus=${place.id}-bus,addr=1,romfile=${properties}`],
  ],
};

export const presetNames: readonly string[] = Object.keys(presets);

/**
 * QEMU's arguments for the devices of a lab.
 *
 * A spec is a preset's name, with device properties after a comma if wanted
 * (`edu,dma_mask=0xffffffff`), or any string that QEMU's own `-device` takes. The n-th device of
 * a preset has the id `<preset><n>` (`igb0`), its root port `<preset><n>-port`, so that QMP and
 * HMP commands can name them. Root ports get their bus numbers in the order of the specs: with
 * an `igb` first, its PF is 01:00.0.
 */
export function deviceArguments(specs: readonly string[]): string[] {
  const counts = new Map<string, number>();
  return specs.flatMap((spec, index) => {
    const [name, properties] = splitSpec(spec);
    const preset = Object.hasOwn(presets, name) ? presets[name] : undefined;
    if (preset === undefined) return ['-device', spec];
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    return preset({ id: `${name}${count}`, chassis: index + 1 }, properties);
  });
}

/** Whether igb is among the devices, whose VFs restrict the guest's memory. */
export function hasIgb(specs: readonly string[]): boolean {
  return specs.some((spec) => ['igb', 'igb-pair'].includes(splitSpec(spec)[0]));
}

/** A name and, if any, its properties with their leading comma. */
function splitSpec(spec: string): [name: string, properties: string] {
  const comma = spec.indexOf(',');
  const name = comma < 0 ? spec : spec.slice(0, comma);
  if (name.trim() === '') {
    throw new LabError('LAB_ARGUMENT', `not a device: ${JSON.stringify(spec)}`, {
      hint: `give a preset (${presetNames.join(', ')}) or what QEMU's -device takes`,
    });
  }
  return [name, comma < 0 ? '' : spec.slice(comma)];
}
