/** Resetting a function that is not open here: by VFIO if it is bound so, else by sysfs. */
import { constants } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno, VfioError } from '../errors';
import { hints } from '../hints';
import { onSameBus, resetMethods } from '../pci/reset-methods';
import { readPciDevice } from '../pci/sysfs';
import { isVfioDriver } from '../pci/vfio-driver';
import { openDevice } from './open';

export interface ResetOptions {
  /** Also where a kernel driver is at work, which loses what it had under way. */
  readonly force?: boolean;
  readonly vfToken?: string;
}

/**
 * Reset one function and no other. Resolves to the first method that the kernel tries, if it tells.
 * @throws ERR_VFIO_NO_RESET, EBUSY (somebody has it open, or a kernel driver does without `force`),
 * EACCES (not root)
 */
export async function resetDevice(
  address: string,
  { force = false, vfToken }: ResetOptions = {},
): Promise<string | undefined> {
  const { bdf, path, driver } = readPciDevice(address);
  const [method] = resetMethods(bdf);
  if (isVfioDriver(driver)) {
    const device = await openDevice(bdf, vfToken === undefined ? {} : { vfToken });
    try {
      await device.reset();
    } finally {
      await device.close();
    }
    return method;
  }
  if (driver !== undefined && !force) {
    throw new VfioError('EBUSY', `${bdf} is in use by the driver ${driver}`, {
      device: bdf,
      hint: hints.losesWork(driver),
    });
  }
  const file = join(path, 'reset');
  try {
    await writeFile(file, '1', { flag: constants.O_WRONLY });
  } catch (cause) {
    throw explain(bdf, file, cause);
  }
  return method;
}

function explain(bdf: string, path: string, cause: unknown): VfioError {
  if (isErrno(cause, 'ENOENT') || isErrno(cause, 'ENOTTY')) {
    return new VfioError('ERR_VFIO_NO_RESET', `${bdf} has no reset of its own`, {
      device: bdf,
      hint: hints.busReset(onSameBus(bdf)),
      cause,
    });
  }
  const { code = 'EIO' } = cause as NodeJS.ErrnoException;
  const hint = code === 'EACCES' ? hints.rootNeeded(path) : hints.kernelRefused();
  return new VfioError(code, `resetting ${bdf}: ${code}`, { device: bdf, path, hint, cause });
}
