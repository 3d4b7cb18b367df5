import { findLabKernel, type LabTools, prepareLab } from '../lab';
import { kernelRelease } from '../lab/kernel/resolve';
import { busyboxVersion } from '../lab/tools/busybox';
import { printError } from './errors';
import { LAB_FAILED, progress } from './lab-status';
import { tableText } from './output';

/**
 * `vfio lab setup`: fetches what the lab needs, and prints each part with its version and place.
 *
 * @returns the exit status
 */
export async function setup(flags: { kernel?: string; qemu?: string }): Promise<number> {
  try {
    const { qemu, kernel = 'stock' } = flags;
    process.stdout.write(await report(await prepareLab({ kernel, qemu, progress })));
    return 0;
  } catch (error) {
    printError(error);
    return LAB_FAILED;
  }
}

async function report({ qemu, kernel, busybox }: LabTools): Promise<string> {
  const built = findLabKernel();
  return tableText([
    ['QEMU', qemu.version, qemu.path],
    [`${kernel.name} kernel`, kernelRelease(kernel.image), kernel.image],
    ['busybox', await busyboxVersion(busybox), busybox],
    ['lab kernel', built?.version ?? '-', built?.image ?? 'not built; see vfio lab kernel'],
  ]);
}
