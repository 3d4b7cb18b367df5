/** Config space as sysfs has it, of any device, whatever driver it has. */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { readPciDevice } from '../sysfs';
import { type ConfigSpace, decodeConfigSpace } from './decode';

/** PCI_CFG_SPACE_EXP_SIZE: no config space is larger. */
const MAX_SIZE = 4096;

/**
 * The bytes of config space: 4096, or 256 of conventional PCI. Without CAP_SYS_ADMIN the kernel
 * gives 64, the header. A sleeping device is woken for it.
 * @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE
 */
export function readConfigBytes(address: string): Uint8Array<ArrayBuffer> {
  const { path } = readPciDevice(address);
  const bytes = new Uint8Array(MAX_SIZE);
  const fd = openSync(join(path, 'config'), 'r');
  try {
    let length = 0;
    while (length < MAX_SIZE) {
      const count = readSync(fd, bytes, length, MAX_SIZE - length, length);
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
 * @throws ERR_VFIO_INVALID_BDF, ERR_VFIO_NO_DEVICE, ERR_VFIO_MALFORMED
 */
export function readConfigSpace(address: string): ConfigSpace {
  return decodeConfigSpace(readConfigBytes(address));
}
