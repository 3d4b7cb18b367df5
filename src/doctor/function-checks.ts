/** Checks of what one function can do: resets, SR-IOV. */
import { join } from 'node:path';
import { hints } from '../hints';
import { SYS } from '../pci/paths';
import { resetMethods } from '../pci/reset-methods';
import { Sriov } from '../pci/sriov';
import { type PciDevice, readAttribute } from '../pci/sysfs';
import { type Finding, ok } from './finding';
import { shell } from './shell';

export function checkReset({ bdf, path }: PciDevice): Finding {
  const methods = resetMethods(bdf);
  const evidence = `${path}/reset_method: ${methods.join(' ') || 'none'}`;
  if (methods.length > 0) return ok('reset', evidence, 'the kernel can reset it alone');
  const meaning =
    'nothing resets it between users but a reset of its whole bus: it may keep its state';
  return { ...{ id: 'no-reset', level: 'warning', evidence, meaning, fix: null } };
}

const enableSriov = join(SYS, 'module/vfio_pci/parameters/enable_sriov');

export function checkSriov({ bdf, driver, physfn }: PciDevice): Finding[] {
  if (physfn !== undefined) {
    const meaning = 'a VF; if its PF is bound to vfio-pci, it opens with the VF token of that only';
    return [ok('vf', `physfn: ${physfn}`, meaning)];
  }
  const { numVfs, totalVfs } = new Sriov(bdf);
  if (totalVfs === 0) return [];
  const evidence = `${numVfs} of ${totalVfs} VFs`;
  if (driver !== 'vfio-pci') return [ok('pf', evidence, 'a PF')];
  const pf = ok('pf', evidence, 'a PF; its VFs open with its VF token only');
  if (readAttribute(enableSriov) !== 'N') return [pf];
  return [
    pf,
    {
      id: 'sriov-disabled',
      level: numVfs === 0 ? 'warning' : 'ok',
      evidence: `${enableSriov}: N`,
      meaning: 'vfio-pci makes no VFs',
      fix: {
        text: hints.sriovDisabled(),
        commands: [],
        byHand: [shell`echo Y > ${enableSriov}`],
        risk: 'VFs act for whoever has the PF: the kernel trusts that driver then',
        reboot: false,
      },
    },
  ];
}
