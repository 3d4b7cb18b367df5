/** A sysfs tree in a temporary directory: symbolic links do not survive in every checkout. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface FakePciDevice {
  readonly bdf: string;
  readonly vendor: number;
  readonly device: number;
  readonly driver?: string;
  readonly iommuGroup?: number;
  readonly attributes?: Readonly<Record<string, string>>;
}

export function makeSysfs(root = mkdtempSync(join(tmpdir(), 'vfio-sysfs-'))) {
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const link = (path: string, target: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    rmSync(join(root, path), { force: true });
    symlinkSync(join(root, target), join(root, path));
  };
  const hex = (value: number) => `0x${value.toString(16)}\n`;
  return {
    root,
    add({ bdf, vendor, device, driver, iommuGroup, attributes = {} }: FakePciDevice) {
      const at = `bus/pci/devices/${bdf}`;
      write(`${at}/vendor`, hex(vendor));
      write(`${at}/device`, hex(device));
      write(`${at}/class`, '0x020000\n');
      write(`${at}/driver_override`, '(null)\n');
      for (const [name, text] of Object.entries(attributes)) write(`${at}/${name}`, text);
      if (driver !== undefined) {
        write(`bus/pci/drivers/${driver}/bind`, '');
        link(`${at}/driver`, `bus/pci/drivers/${driver}`);
      }
      if (iommuGroup !== undefined) {
        link(`${at}/iommu_group`, `kernel/iommu_groups/${iommuGroup}`);
        link(`kernel/iommu_groups/${iommuGroup}/devices/${bdf}`, at);
      }
    },
    remove() {
      rmSync(root, { recursive: true });
    },
  };
}
