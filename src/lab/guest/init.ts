import { GUEST_MESSAGE } from '../machine/console';
import { SHARES, STAGE1, STAGE2 } from './places';
import { quote } from './quote';

/** Ends a guest that is of no use, saying why. */
export const DIE = `die() {
  echo "${GUEST_MESSAGE}$*" >/dev/console
  poweroff -f
}`;

/**
 * The initramfs' /init: loads modules, mounts the host's files below a tmpfs that takes what is
 * written, and continues there. Sources ${STAGE1}/config, see configScript().
 */
export const INIT = `#!${STAGE1}/bin/sh
export PATH=${STAGE1}/bin
${DIE}

mkdir -p /dev /proc /sys /root /host /written
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
. ${STAGE1}/config

while read -r module parameters; do
  insmod ${STAGE1}/modules/$module $parameters || die "cannot load the module $module"
done <${STAGE1}/modules.list

mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose ${SHARES.root} /host ||
  die 'cannot mount the files of the host'
mount -t tmpfs -o mode=755 tmpfs /written && mkdir /written/files /written/work
overlay() {
  mount -t overlay -o lowerdir=/host,upperdir=/written/files,workdir=/written/work,redirect_dir=on overlay /root ||
    die 'cannot make the files of the host writable'
}
overlay
# A whiteout hides a file for good, as nothing in the guest shows what is below.
if [ -s ${STAGE1}/hidden ]; then
  while read -r kind path; do
    # Makes the directories above it as they are below.
    mark="/root\${path%/*}/.vfio-lab"
    : >"$mark" && rm "$mark"
  done <${STAGE1}/hidden
  umount /root
  while read -r kind path; do mknod "/written/files$path" c 0 0; done <${STAGE1}/hidden
  overlay
  while read -r kind path; do
    if [ "$kind" = directory ]; then mkdir "/root$path"; else : >"/root$path"; fi
  done <${STAGE1}/hidden
fi
# The overlay keeps both.
umount /host /written

if [ -n "$lab_modules" ]; then
  mkdir -p /root/lib/modules
  mount --bind "/root$lab_modules" /root/lib/modules || die "cannot see $lab_modules"
fi

mount -t tmpfs -o mode=755 tmpfs /root/run
mkdir -p /root${STAGE2}
cp -a ${STAGE1}/. /root${STAGE2}

mount --move /dev /root/dev
mount --move /proc /root/proc
mount --move /sys /root/sys
exec switch_root /root ${STAGE2}/bin/sh ${STAGE2}/agent
die 'cannot switch to the files of the host'
`;

/** How a guest is laid out. */
export interface GuestLayout {
  /** The kernel's /lib/modules on the host. */
  modulesDir: string | undefined;
  /** The one directory whose changes reach the host. */
  out: string | undefined;
  /** What the guest itself has to hide of the host's files. */
  hidden: readonly HiddenPath[];
}

export interface HiddenPath {
  kind: 'directory' | 'file';
  /** Absolute, without symbolic links. */
  path: string;
}

export function configScript({ modulesDir, out }: GuestLayout): string {
  return `lab_modules=${quote(modulesDir ?? '')}\nlab_out=${quote(out ?? '')}\n`;
}

export function hiddenList({ hidden }: GuestLayout): string {
  return hidden.map(({ kind, path }) => `${kind} ${path}\n`).join('');
}
