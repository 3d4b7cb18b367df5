/** Checks of what one function does and can do: power, resets, SR-IOV. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { hints } from '../hints';
import { readConfigBytes } from '../pci/config/read';
import { SYS } from '../pci/paths';
import { onSameBus, resetMethods } from '../pci/reset-methods';
import { PCI_DEVICES, type PciDevice, readAttribute, readLinkName } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { totalVfs, vfCount } from '../pci/virtual-functions';
import { type Finding, ok } from './finding';
import { shell } from './shell';

export function checkReset({ bdf, path }: PciDevice): Finding {
  const methods = resetMethods(bdf);
  const file = `${path}/reset_method`;
  if (methods.length > 0)
    return ok('reset', `${file}: ${methods.join(' ')}`, 'the kernel can reset it alone');
  // Before Linux 5.15 the kernel tells only that there is a way.
  if (existsSync(join(path, 'reset')))
    return ok('reset', `${path}/reset exists`, 'the kernel can reset it alone');
  const others = onSameBus(bdf);
  const told = existsSync(file) ? 'is empty' : 'does not exist, nor reset';
  return {
    id: 'no-reset',
    level: 'warning',
    evidence: `${file} ${told}; ${others === undefined ? 'on a root bus' : `on its bus: ${others.join(', ') || 'no other'}`}`,
    meaning: 'nothing resets it alone between users: it may keep its state',
    fix: {
      text: hints.busReset(others),
      commands: [],
      risk:
        others === undefined
          ? 'what it was told before may be seen, or go on, under its next owner'
          : 'all on that bus lose what they had under way',
      reboot: false,
    },
  };
}

/** PCI_COMMAND and its bit of memory decoding (PCI 3.0, 6.2.2). */
const COMMAND = 4;
const MEMORY = 2;

/** Unbound and idle devices sleep, which is fine; what answers all ones is gone. */
export function checkPower({ bdf, path, physfn }: PciDevice): Finding[] {
  // First, as reading config space wakes it.
  const state = readAttribute(join(path, 'power_state'));
  const header = configHeader(bdf);
  if (header?.every((byte) => byte === 0xff)) {
    return [
      {
        id: 'no-answer',
        level: 'blocked',
        evidence: `${path}/config: all ones${state === undefined ? '' : `; power_state: ${state}`}`,
        meaning: 'it does not answer: its link is down, or it sleeps and does not wake',
        fix: {
          text: hints.deviceGone(),
          commands: [],
          byHand: [
            shell`echo 1 > ${join(path, 'remove')}`,
            shell`echo 1 > ${join(SYS, 'bus/pci/rescan')}`,
          ],
          risk: 'its driver loses it; it may not come back before the machine is off',
          reboot: false,
        },
      },
    ];
  }
  if (state === undefined || header === undefined) return [];
  // That of a VF is always 0: its PF has the bit for all (SR-IOV 1.1, 3.4.1.3).
  const decodes = physfn !== undefined || (header.readUInt16LE(COMMAND) & MEMORY) !== 0;
  const evidence = `${path}/power_state: ${state}; PCI_COMMAND: memory decoding ${decodes ? 'on' : 'off'}`;
  const meaning =
    // 'unknown' where it has no power management.
    !/^D[1-3]/.test(state) && decodes
      ? 'its registers answer'
      : 'its registers answer once it is open: opening wakes it, and turns decoding on';
  return [ok('power', evidence, meaning)];
}

function configHeader(bdf: string): Buffer | undefined {
  try {
    const bytes = Buffer.from(readConfigBytes(bdf));
    // A VF's ids alone are all ones, too (SR-IOV 1.1, 3.4.1).
    return bytes.length >= COMMAND + 2 ? bytes.subarray(0, COMMAND + 2) : undefined;
  } catch {
    return undefined;
  }
}

const enableSriov = join(SYS, 'module/vfio_pci/parameters/enable_sriov');

export function checkSriov(device: PciDevice): Finding[] {
  const { driver, physfn } = device;
  if (physfn !== undefined) return [checkVf(physfn)];
  const [numVfs, total] = [vfCount(device), totalVfs(device)];
  if (total === 0) return [];
  const evidence = `${numVfs} of ${total} VFs`;
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

/** Whether a token is set, nothing tells but opening the VF. */
function checkVf(pf: string): Finding {
  const driver = readLinkName(join(PCI_DEVICES, pf, 'driver'));
  const evidence = `physfn: ${pf}, bound to ${driver ?? 'no driver'}`;
  if (!isVfioDriver(driver)) return ok('vf', evidence, 'a VF; it opens without a VF token');
  return {
    id: 'vf-token',
    level: 'warning',
    evidence,
    meaning: 'a VF whose PF is in user space: it opens with the VF token of the PF only',
    fix: {
      text: hints.vfToken(pf),
      commands: [],
      risk: 'whoever has the PF can reset and remove the VF',
      reboot: false,
    },
  };
}
