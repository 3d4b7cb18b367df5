/** Mediated devices: parts of a device that its driver gives away (Documentation/driver-api/vfio-mediated-device.rst). */
import { join } from 'node:path';
import { VfioError } from '../errors';
import { hints } from '../hints';
import { assertNotOpen } from '../pci/binding/assert-free';
import { SYS } from '../pci/paths';
import { listDirectory, readAttribute } from '../pci/sysfs';
import { writeSysfs } from '../pci/sysfs-write';
import { findDevice } from './bus-device';
import { isUuid } from './uuid';

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
  assertUuid(uuid);
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
  await writeSysfs(
    { path: join(typesOf(parent), id, 'create'), text: uuid },
    {
      what: `making a mediated device ${id}`,
      hints: {
        EEXIST: `there is a device ${uuid} already: leave the UUID out, and a new one is taken`,
        EUSERS: noneLeft,
        ENOSPC: noneLeft,
      },
    },
  );
  return uuid.toLowerCase();
}

/**
 * Remove a mediated device. `force`: also while it is open; the removal then waits until nobody has it open.
 * Only a driver with REQ asks for that, and the kernel's samples have none.
 * @throws ERR_VFIO_INVALID_UUID, ERR_VFIO_NO_DEVICE, EBUSY (a process has it open), EACCES
 */
export async function removeMdev(
  uuid: string,
  { force = false }: { readonly force?: boolean } = {},
): Promise<void> {
  assertUuid(uuid);
  const device = findDevice(uuid);
  if (!force) assertNotOpen(uuid, device);
  await writeSysfs(
    { path: join(device.path, 'remove'), text: '1' },
    { what: `removing the mediated device ${uuid}`, device: uuid },
  );
}

function assertUuid(uuid: string): void {
  if (isUuid(uuid)) return;
  const shown = typeof uuid === 'string' ? JSON.stringify(uuid) : typeof uuid;
  throw new VfioError('ERR_VFIO_INVALID_UUID', `not a UUID: ${shown}`, { hint: hints.badUuid() });
}

const noneLeft =
  'there is none left of this type: mdevTypes() tells how many are, removeMdev() frees one';
