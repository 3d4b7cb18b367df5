import { GUEST_MESSAGE } from '../machine/console';

/** Names of the virtio-serial ports between guest and host. */
export const PORTS = {
  /** Host to guest: a signal's name per line. Guest to host: `started`, then `exit STATUS`. */
  control: 'vfio.control',
  stdout: 'vfio.stdout',
  stderr: 'vfio.stderr',
} as const;

/** Mount tags of the 9p shares. */
export const SHARES = { root: 'vfio-root', out: 'vfio-out' } as const;

/** What the scripts below use of busybox. */
export const APPLETS: readonly string[] = (
  'cat chmod hostname insmod ip kill mkdir mkfifo mount poweroff printf rm setsid sh sleep ' +
  'switch_root sync umount cp'
).split(' ');

/** Where the lab's own files are in the guest, before and after the switch to the host's files. */
const STAGE1 = '/lab';
const STAGE2 = '/run/vfio-lab';

const die = `die() {
  echo "${GUEST_MESSAGE}$*" >/dev/console
  poweroff -f
}`;

/**
 * The initramfs' /init: loads modules, mounts the host's files below a tmpfs that takes what is
 * written, and continues there.
 * Sources ${STAGE1}/config, which sets lab_modules, lab_cwd, lab_out and lab_token.
 */
export const INIT = `#!${STAGE1}/bin/sh
export PATH=${STAGE1}/bin
${die}

mkdir -p /dev /proc /sys /root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
. ${STAGE1}/config

while read -r module parameters; do
  insmod ${STAGE1}/modules/$module $parameters || die "cannot load the module $module"
done <${STAGE1}/modules.list

mkdir -p /host /written
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose ${SHARES.root} /host ||
  die 'cannot mount the files of the host'
mount -t tmpfs -o mode=755 tmpfs /written && mkdir /written/files /written/work
mount -t overlay -o lowerdir=/host,upperdir=/written/files,workdir=/written/work,redirect_dir=on overlay /root ||
  die 'cannot make the files of the host writable'
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
exec switch_root /root ${STAGE2}/bin/sh ${STAGE2}/run
die 'cannot switch to the files of the host'
`;

/** PID 1 after the switch: runs the command, relays its output, reports its status. */
export const RUN = `export PATH=${STAGE2}/bin
${die}
. ${STAGE2}/config

mkdir -p /dev/pts /dev/shm /dev/hugepages
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
hostname vfio-lab
ulimit -c 0

if [ -n "$lab_out" ]; then
  mkdir -p "$lab_out"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap ${SHARES.out} "$lab_out" ||
    die "cannot mount $lab_out"
fi
cd "$lab_cwd" || die "the guest does not see the current directory $lab_cwd"

# The driver names its ports a moment after it has made them.
port() {
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    for directory in /sys/class/virtio-ports/*; do
      read -r name <"$directory/name"
      if [ "$name" = "$1" ]; then port=/dev/\${directory##*/}; return; fi
    done
    sleep 0.1
  done
  die "no port $1"
}

# A port can be open only once, but programs do reopen /dev/stderr: so they get pipes, and the
# token tells the host that nothing more will come.
relay() {
  port "$2"
  mkfifo "${STAGE2}/$1"
  { cat; printf %s "$lab_token"; } <"${STAGE2}/$1" >"$port" &
}
port ${PORTS.control}; exec 3<>"$port"
relay stdout ${PORTS.stdout}; stdout=$!
relay stderr ${PORTS.stderr}; stderr=$!

# In the foreground: a shell makes what it starts in the background ignore SIGINT.
while read -r signal; do
  read -r command <${STAGE2}/pid && kill -"$signal" -"$command"
done <&3 2>/dev/null &
. ${STAGE2}/command
status=$?

# Whatever the command left running ends with it, as at the end of a container.
for directory in /proc/[0-9]*; do
  pid=\${directory#/proc/}
  case $pid in 1 | $stdout | $stderr) continue ;; esac
  [ -e "$directory/exe" ] && kill -KILL "$pid"
done 2>/dev/null
wait "$stdout" "$stderr"
cd /
if [ -n "$lab_out" ]; then umount "$lab_out"; fi
sync
echo "exit $status" >&3
# The host turns the VM off as soon as it has everything.
while :; do sleep 3600; done
`;

/** What a lab runs, and how its guest is laid out. */
export interface GuestCommand {
  command: readonly string[];
  /** Absolute; the same directory as on the host. */
  cwd: string;
  env: Readonly<Record<string, string>>;
  /** The kernel's /lib/modules on the host. */
  modulesDir: string | undefined;
  /** The one directory whose changes reach the host. */
  out: string | undefined;
  /** Ends both output streams; must not occur in what the command prints. */
  token: string;
}

export function configScript(guest: GuestCommand): string {
  return [
    `lab_modules=${quote(guest.modulesDir ?? '')}`,
    `lab_out=${quote(guest.out ?? '')}`,
    `lab_cwd=${quote(guest.cwd)}`,
    `lab_token=${quote(guest.token)}`,
    '',
  ].join('\n');
}

/**
 * Runs the command. It leads a process group of its own, so that a signal reaches its children,
 * and is looked up by the host's own shell, as busybox would prefer its applets.
 */
export function commandScript(guest: GuestCommand): string {
  const environment = Object.entries(guest.env).map(([name, value]) => `${name}=${quote(value)}`);
  const start = `echo $$ >${STAGE2}/pid; echo started >&3; exec 3>&-; exec "$@"`;
  const shell = ['/bin/sh', '-c', start, 'vfio lab', ...guest.command].map(quote).join(' ');
  return [
    `(`,
    ...environment.map((assignment) => `export ${assignment}`),
    `exec ${STAGE2}/bin/setsid ${shell} </dev/null >${STAGE2}/stdout 2>${STAGE2}/stderr`,
    ')',
    '',
  ].join('\n');
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
