import { accessSync, constants, readFileSync } from 'node:fs';

export type Accelerator = 'kvm' | 'tcg';

/** What the decision is made from; tests pass their own. */
export interface AcceleratorFacts {
  /** The text of /proc/cpuinfo. */
  cpuinfo: string;
  /** Whether /dev/kvm can be opened for reading and writing. */
  kvmUsable: boolean;
}

/**
 * KVM only where the CPU itself reports VMX or SVM: a host that is a VM can offer a /dev/kvm
 * that opens, and even creates VMs, yet whose guests die in their firmware.
 */
export function chooseAccelerator(facts: AcceleratorFacts = hostFacts()): Accelerator {
  const flags = /^flags\s*:(.*)$/m.exec(facts.cpuinfo)?.[1]?.split(/\s+/) ?? [];
  const virtualisation = flags.includes('vmx') || flags.includes('svm');
  return virtualisation && facts.kvmUsable ? 'kvm' : 'tcg';
}

function hostFacts(): AcceleratorFacts {
  return { cpuinfo: readFileSync('/proc/cpuinfo', 'utf8'), kvmUsable: isUsable('/dev/kvm') };
}

function isUsable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** What to say while a guest boots. */
export function bootNotice(accelerator: Accelerator): string {
  return accelerator === 'kvm'
    ? 'booting (with KVM), about 3 s'
    : 'booting (emulated: no KVM here), about 10 s';
}
