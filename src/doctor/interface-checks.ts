/** Checks of what the kernel offers to map memory and open devices with. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { kernelOption } from '../pci/kernel-files';
import { DEV, DEV_VFIO } from '../pci/paths';
import { type Finding, ok } from './finding';
import { anotherKernel, missingOptions } from './kernel-options';

const presence = (path: string) => `${path} ${existsSync(path) ? 'exists' : 'does not exist'}`;

/** Containers or iommufd: without either, no memory can be mapped for DMA. */
export function checkInterfaces(): Finding {
  const nodes = [join(DEV, 'iommu'), join(DEV_VFIO, 'vfio')] as const;
  const evidence = nodes.map(presence).join('; ');
  const [iommufd, containers] = nodes.map((path) => existsSync(path));
  const which = [...(iommufd ? ['iommufd'] : []), ...(containers ? ['groups and containers'] : [])];
  if (which.length > 0) {
    return ok('interfaces', evidence, `the kernel has ${which.join(', and ')}`);
  }
  const missing = missingOptions(['CONFIG_VFIO_IOMMU_TYPE1', 'CONFIG_IOMMUFD']);
  if (missing) {
    return {
      ...{ id: 'interface-not-built', level: 'blocked', evidence: `${evidence}; ${missing}` },
      meaning: 'this kernel was built without an interface to map memory with',
      fix: anotherKernel('CONFIG_VFIO_IOMMU_TYPE1 or CONFIG_IOMMUFD'),
    };
  }
  return {
    id: 'no-interface',
    level: 'blocked',
    evidence,
    meaning: 'there is no node to map memory with',
    fix: {
      text: 'load the IOMMU interface of VFIO',
      commands: ['modprobe vfio_iommu_type1 || modprobe iommufd'],
      risk: 'none',
      reboot: false,
    },
  };
}

const OPTIONS = ['CONFIG_IOMMUFD', 'CONFIG_VFIO_DEVICE_CDEV'] as const;

/**
 * iommufd with character devices of VFIO, the newer of the two interfaces: what needs it (dirty tracking by
 * the IOMMU, PASIDs, moving devices) is extra, so that its absence blocks nothing.
 */
export function checkDeviceNodes(): Finding {
  const [iommu, devices] = [join(DEV, 'iommu'), join(DEV_VFIO, 'devices')];
  const options = OPTIONS.flatMap((name) => {
    const option = kernelOption(name);
    return option ? [{ name, ...option }] : [];
  });
  const evidence = [
    presence(iommu),
    presence(devices),
    ...options.map(({ name, value, file }) => `${file}: ${name}${value ? `=${value}` : ' off'}`),
  ].join('; ');
  const off = options.filter(({ value }) => value === undefined).map(({ name }) => name);
  if (off.length > 0) {
    return ok(
      'iommufd-not-built',
      evidence,
      `built without ${off.join(' and ')}: devices are opened by groups and containers`,
    );
  }
  if (!existsSync(iommu)) {
    if (options.length === 0) {
      return ok('iommufd-absent', evidence, 'devices are opened by groups and containers');
    }
    return {
      id: 'iommufd-not-loaded',
      level: 'ok',
      evidence,
      meaning: 'the kernel has iommufd, and has not loaded it: devices are opened by groups',
      fix: {
        text: 'load it, if dirty tracking by the IOMMU, PASIDs or moving devices are wanted',
        commands: ['modprobe iommufd'],
        risk: 'none',
        reboot: false,
      },
    };
  }
  const meaning = existsSync(devices)
    ? 'devices can be opened by character devices and iommufd'
    : 'iommufd is there; character devices appear with the first device that is bound to vfio-pci';
  return ok('iommufd', evidence, meaning);
}
