/** Whether a descriptor that was opened elsewhere is of the node that it is taken for. */
import { fstatSync } from 'node:fs';
import { invalidArgument } from '../errors';
import type { GivenFd } from '../given-fd';
import { readAttribute } from '../pci/sysfs';

/**
 * `attribute`: the file in sysfs with the node's device number. Where sysfs does not have it, the
 * descriptor is left to the kernel to judge.
 * @throws ERR_VFIO_INVALID_ARGUMENT if it is another node's
 */
export function assertNode({ fd }: GivenFd, attribute: string, what: string): void {
  const expected = readAttribute(attribute);
  if (expected === undefined || !/^\d+:\d+$/.test(expected)) return;
  const stat = fstatSync(fd, { bigint: true });
  const actual = stat.isCharacterDevice() ? deviceNumber(stat.rdev) : 'no device';
  if (actual === expected) return;
  throw invalidArgument(`descriptor ${fd} is not of ${what}: ${actual}, not ${expected}`, {
    hint: `pass a descriptor of ${what}, or leave \`fds\` out`,
  });
}

/** As sysfs has it: `major:minor` of a dev_t (gnu_dev_major of glibc). */
function deviceNumber(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n);
  return `${major}:${minor}`;
}
