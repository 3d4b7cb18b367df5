/** Resetting a function that is not open here: by VFIO if it is bound so, else by sysfs. */
import { join } from 'node:path';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { assertNotOpen, assertUnused, assertVfsUnused } from '../pci/binding/assert-free';
import { onSameBus, resetMethods } from '../pci/reset-methods';
import { readPciDevice } from '../pci/sysfs';
import { writeSysfs } from '../pci/sysfs-write';
import { isVfioDriver } from '../pci/vfio-driver';
import { openDevice } from './open';

export interface ResetOptions {
  /** Also while it, or a VF of it, is in use: whoever uses it loses what it had under way. */
  readonly force?: boolean;
  readonly vfToken?: string;
}

/**
 * Reset one function and no other. Resolves to the first method that the kernel tries, if it reports it.
 * @throws ERR_VFIO_NO_RESET, EBUSY (somebody has it open; or without `force`, a kernel driver has it, or
 * it is in use otherwise), EACCES (not root)
 */
export async function resetDevice(
  address: string,
  { force = false, vfToken }: ResetOptions = {},
): Promise<string | undefined> {
  const pci = readPciDevice(address);
  const { bdf, path, driver } = pci;
  const [method] = resetMethods(bdf);
  if (!force) {
    assertIdle(bdf, driver);
    // What a vfio driver has is in use by who has it open, and so are its VFs.
    if (isVfioDriver(driver)) {
      assertVfsUnused(pci);
      assertNotOpen(bdf, pci);
    } else assertUnused(pci);
  }
  if (isVfioDriver(driver)) {
    const device = await openDevice(bdf, vfToken === undefined ? {} : { vfToken });
    try {
      await device.reset();
    } finally {
      await device.close();
    }
    return method;
  }
  const write = { path: join(path, 'reset'), text: '1' };
  await writeSysfs(write, { what: `resetting ${bdf}`, device: bdf }).catch((error) => {
    throw explain(bdf, error);
  });
  return method;
}

/** A driver of the kernel may have work under way though no process is seen to use it. */
function assertIdle(bdf: string, driver: string | undefined): void {
  if (driver === undefined || isVfioDriver(driver)) return;
  throw new VfioError('EBUSY', `${bdf} is in use by the driver ${driver}`, {
    device: bdf,
    hint: hints.losesWork(driver),
  });
}

function explain(bdf: string, cause: unknown): unknown {
  if (!isErrno(cause, 'ENOENT') && !isErrno(cause, 'ENOTTY')) return cause;
  return new VfioError('ERR_VFIO_NO_RESET', `${bdf} has no reset of its own`, {
    device: bdf,
    hint: hints.busReset(onSameBus(bdf)),
    cause,
  });
}
