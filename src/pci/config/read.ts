/** Config space as sysfs has it, of any device, whatever driver it has. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { readError, readPciDevice } from '../sysfs';
import { type ConfigSpace, decodeConfigSpace } from './decode';

/** PCI_CFG_SPACE_EXP_SIZE: no config space is larger. */
const MAX_SIZE = 4096;

/**
 * The bytes of config space: 4096, or 256 of conventional PCI. Without CAP_SYS_ADMIN the kernel
 * gives 64, the header. A sleeping device is woken for it.
 * @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE, ENOENT (no `config` in sysfs), EACCES
 */
export function readConfigBytes(address: string): Uint8Array<ArrayBuffer> {
  const { bdf, path } = readPciDevice(address);
  const file = join(path, 'config');
  try {
    return readUpTo(file, MAX_SIZE);
  } catch (cause) {
    throw readError(cause, file, { what: `reading config space of ${bdf}`, device: bdf });
  }
}

function readUpTo(file: string, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  const fd = openSync(file, 'r');
  try {
    let length = 0;
    while (length < size) {
      const count = readSync(fd, bytes, length, size - length, length);
      if (count === 0) break;
      length += count;
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/**
 * Config space of a device, decoded.
 * @throws what readConfigBytes does, and ERR_VFIO_MALFORMED for less than a header
 */
export function readConfigSpace(address: string): ConfigSpace {
  return decodeConfigSpace(readConfigBytes(address));
}
