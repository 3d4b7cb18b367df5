/** Commands of `vfio` to give as advice: only those that `--dry-run` accepts here and now. */
import { planBind } from '../pci/binding/bind-transaction';
import { planRestore } from '../pci/binding/restore';
import { usesOf } from '../pci/in-use';
import type { Use } from '../pci/in-use/parts';
import { readPciDevice } from '../pci/sysfs';
import { shell } from './shell';

export interface Advice {
  readonly commands: readonly string[];
  /** What is in use takes a --force, which a script must not do. */
  readonly byHand: readonly string[];
}

export function adviseBind(bdfs: readonly string[]): Advice {
  const free = bdfs.filter((bdf) => accepts(() => planBind([bdf])));
  const byForce = bdfs.filter(
    (bdf) => !free.includes(bdf) && accepts(() => planBind([bdf], { force: true })),
  );
  return {
    commands: free.length > 0 ? [shell`vfio bind ${free}`] : [],
    byHand: byForce.flatMap((bdf) => [
      ...usesOf(readPciDevice(bdf)).flatMap(endingUse),
      shell`vfio bind --force ${bdf}`,
    ]),
  };
}

export function adviseRestore(bdf: string): Advice {
  const accepted = (force: boolean) =>
    accepts(() => {
      for (const { error } of planRestore([bdf], force)) if (error) throw error;
    });
  if (accepted(false)) return { commands: [shell`vfio restore ${bdf}`], byHand: [] };
  return { commands: [], byHand: accepted(true) ? [shell`vfio restore --force ${bdf}`] : [] };
}

function accepts(plan: () => unknown): boolean {
  try {
    plan();
    return true;
  } catch {
    return false;
  }
}

/** The command that ends it; of routes, sessions, programs and displays, only a person knows how. */
function endingUse({ kind, name }: Use): string[] {
  if (kind === 'mount') return [shell`umount ${`/dev/${name}`}`];
  return kind === 'swap' ? [shell`swapoff ${`/dev/${name}`}`] : [];
}
