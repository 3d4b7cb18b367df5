import { LabError } from '../errors';

/** The IOMMU of a guest, and what its kernel has to know and load for it. */
export interface Iommu {
  /** QEMU's arguments, to come before those of devices: it translates for what is plugged in later. */
  arguments: readonly string[];
  /** Parameters of the guest's kernel. */
  parameters: readonly string[];
  /** Modules to load before those of VFIO, unless they are built in. */
  modules: readonly string[];
}

interface Kind {
  /** A device of QEMU, with properties. */
  device?: string;
  parameters: readonly string[];
  modules: readonly string[];
  /**
   * Whether every kernel remaps interrupts, so that a device can raise only its own; VFIO refuses
   * devices where not.
   */
  remapsInterrupts: boolean;
}

const kinds = {
  /** VT-d. Caching mode is what VFIO in QEMU needs, should the guest be a host itself. */
  intel: {
    device: 'intel-iommu,intremap=on,caching-mode=on',
    parameters: ['intel_iommu=on'],
    modules: [],
    remapsInterrupts: true,
  },
  /**
   * AMD-Vi. QEMU translates for emulated devices with `dma-remap` only (11.1; 10.0 lacks it), and
   * gives the IOMMU a function on the bus, at the first free slot. Linux 7.3 does not remap
   * interrupts (check_sb_ioapic() in drivers/iommu/amd/init.c): QEMU's tables put the I/O APIC at
   * 00:14.0, where it looks for a southbridge and q35 has none; 6.12 does.
   */
  amd: {
    device: 'amd-iommu,intremap=on,xtsup=on,dma-remap=on',
    parameters: [],
    modules: [],
    remapsInterrupts: false,
  },
  virtio: {
    device: 'virtio-iommu-pci,addr=0x1a',
    parameters: [],
    modules: ['virtio_iommu'],
    remapsInterrupts: false,
  },
  none: {
    parameters: ['vfio.enable_unsafe_noiommu_mode=1'],
    modules: [],
    remapsInterrupts: false,
  },
} as const satisfies Record<string, Kind>;

export const iommuKinds: readonly string[] = Object.keys(kinds);

/**
 * The IOMMU that a spec names: `intel`, `amd`, `virtio` or `none`, with properties of QEMU's device
 * after a comma if wanted (`intel,aw-bits=39`).
 *
 * @throws LabError `LAB_ARGUMENT`
 */
export function parseIommu(spec: string): Iommu {
  const comma = spec.indexOf(',');
  const name = comma < 0 ? spec : spec.slice(0, comma);
  const properties = comma < 0 ? '' : spec.slice(comma);
  const kind: Kind | undefined = Object.hasOwn(kinds, name)
    ? kinds[name as keyof typeof kinds]
    : undefined;
  if (kind === undefined || (kind.device === undefined && properties !== '')) {
    throw new LabError('LAB_ARGUMENT', `not an IOMMU: ${JSON.stringify(spec)}`, {
      hint: 'give intel, amd or virtio, each with properties after a comma if wanted, or none',
    });
  }
  const { device, parameters, modules, remapsInterrupts } = kind;
  return {
    arguments: device === undefined ? [] : ['-device', `${device}${properties}`],
    // Without interrupt remapping, VFIO takes devices only where that risk was accepted.
    parameters: remapsInterrupts
      ? parameters
      : [...parameters, ...UNSAFE_INTERRUPTS.map((parameter) => `${parameter}=1`)],
    modules,
  };
}

const UNSAFE_INTERRUPTS = [
  'vfio_iommu_type1.allow_unsafe_interrupts',
  'iommufd.allow_unsafe_interrupts',
];
