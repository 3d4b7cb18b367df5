/** Mediated devices: parts of a device that its driver gives away (Documentation/driver-api/vfio-mediated-device.rst). */
import { constants } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { validate as isUuid } from 'uuid';
import { VfioError } from '../errors';
import { hints } from '../hints';
import { SYS } from '../pci/paths';
import { listDirectory, readAttribute } from '../pci/sysfs';

const PARENTS = join(SYS, 'class/mdev_bus');

export interface MdevType {
  /** The parent's name in sysfs: a PCI address, or `mtty`. */
  readonly parent: string;
  /** `mtty-1`. */
  readonly id: string;
  /** What the driver calls it. */
  readonly name: string | undefined;
  /** How many can still be made. */
  readonly available: number;
  /** `vfio-pci`: what kind of device it looks like. */
  readonly deviceApi: string | undefined;
}

const typesOf = (parent: string) => join(PARENTS, parent, 'mdev_supported_types');

/** All types of mediated devices that there are parents for. */
export function mdevTypes(): MdevType[] {
  return listDirectory(PARENTS).flatMap((parent) =>
    listDirectory(typesOf(parent)).map((id) => {
      const attribute = (name: string) => readAttribute(join(typesOf(parent), id, name));
      const available = Number(attribute('available_instances'));
      return {
        parent,
        id,
        name: attribute('name'),
        available: Number.isSafeInteger(available) ? available : 0,
        deviceApi: attribute('device_api'),
      };
    }),
  );
}

/**
 * Make a mediated device; its UUID is what openDevice() takes. It lasts until removeMdev(), or its
 * parent goes.
 * @throws ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE (no such type), EACCES (not root), EEXIST, EUSERS or
 * ENOSPC (none left; the driver chooses)
 */
export async function createMdev(
  { parent, id }: { readonly parent: string; readonly id: string },
  uuid: string = crypto.randomUUID(),
): Promise<string> {
  if (!isUuid(uuid)) {
    throw new VfioError('ERR_VFIO_INVALID_UUID', `not a UUID: ${JSON.stringify(uuid)}`, {
      hint: hints.badUuid(),
    });
  }
  const found = mdevTypes().find((type) => type.parent === parent && type.id === id);
  if (!found) {
    const names = mdevTypes().map((type) => `${type.parent} ${type.id}`);
    throw new VfioError(
      'ERR_VFIO_NO_DEVICE',
      `there is no type ${id} of mediated devices of ${parent}`,
      {
        hint: names.length > 0 ? `there are ${names.join(', ')}` : 'no driver here has any',
      },
    );
  }
  await write(join(typesOf(parent), id, 'create'), uuid, `making a mediated device ${id}`, {
    EEXIST: `there is a device ${uuid} already: leave the UUID out, and a new one is taken`,
    EUSERS: noneLeft,
    ENOSPC: noneLeft,
  });
  return uuid.toLowerCase();
}

/**
 * Waits until nobody has it open. Only a driver with REQ asks for that, and the kernel's samples have none.
 * @throws ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE, EACCES
 */
export async function removeMdev(uuid: string): Promise<void> {
  if (!isUuid(uuid)) {
    throw new VfioError('ERR_VFIO_INVALID_UUID', `not a UUID: ${JSON.stringify(uuid)}`, {
      hint: hints.badUuid(),
    });
  }
  const path = join(SYS, 'bus/mdev/devices', uuid.toLowerCase());
  if (listDirectory(path).length === 0) {
    throw new VfioError('ERR_VFIO_NO_DEVICE', `there is no mediated device ${uuid}`, {
      device: uuid,
      path,
      hint: hints.noSuchMdev(),
    });
  }
  await write(join(path, 'remove'), '1', `removing the mediated device ${uuid}`);
}

const noneLeft =
  'there is none left of this type: mdevTypes() tells how many are, removeMdev() frees one';

async function write(
  path: string,
  text: string,
  what: string,
  hintsByCode: Readonly<Record<string, string>> = {},
): Promise<void> {
  try {
    await writeFile(path, text, { flag: constants.O_WRONLY });
  } catch (cause) {
    const { code = 'EIO', errno, syscall } = cause as NodeJS.ErrnoException;
    const refused = code === 'EACCES' || code === 'EPERM';
    const hint = refused ? hints.rootNeeded(path) : hintsByCode[code];
    const details = {
      syscall,
      path,
      hint: hint ?? 'dmesg may tell what the driver had against it',
    };
    throw new VfioError(code, `${what}: ${code}`, { ...details, errno: errno && -errno, cause });
  }
}
