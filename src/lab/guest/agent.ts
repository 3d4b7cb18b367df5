import { DIE } from './init';
import { SHARES, STAGE2 } from './places';
import { CHANNELS, SLOTS } from './ports';

/** What the scripts of the guest use of busybox. */
export const APPLETS: readonly string[] = (
  'cat cp dd grep hostname insmod ip kill ln mkdir mkfifo mknod mount poweroff printf rm setsid sh ' +
  'sleep stty switch_root sync tty umount'
).split(' ');

const slots = Array.from({ length: SLOTS }, (_, slot) => slot);
const perSlot = (name: string) => slots.map((slot) => `${STAGE2}/${slot}/${name}`).join(' ');

/**
 * PID 1 after the switch: serves each slot in a process of its own. A shell and not a program of
 * ours, as the guest has no other that starts in milliseconds.
 */
export const AGENT = `export PATH=${STAGE2}/bin
${DIE}
. ${STAGE2}/config

mkdir -p /dev/pts /dev/shm /dev/hugepages
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
ln -s /proc/self/fd /dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
  ln -s /proc/self/fd/\${number%:*} /dev/\${number#*:}
done
ip link set lo up
hostname vfio-lab
ulimit -c 0

if [ -n "$lab_out" ]; then
  mkdir -p "$lab_out"
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap ${SHARES.out} "$lab_out" ||
    die "cannot mount $lab_out"
fi

# Sets port_SLOT_CHANNEL. The driver names its ports a moment after it has made them.
find_ports() {
  found=0
  for directory in /sys/class/virtio-ports/*; do
    read -r name <"$directory/name" || continue
    case $name in
      vfio.*.*)
        slot=\${name#vfio.}
        eval "port_\${slot%.*}_\${slot#*.}=/dev/\${directory##*/}"
        found=$((found + 1)) ;;
    esac
  done
  [ $found -ge ${SLOTS * CHANNELS.length} ]
}
attempt=0
until find_ports 2>/dev/null; do
  attempt=$((attempt + 1))
  [ $attempt -lt 100 ] || die 'the ports to the host are missing'
  sleep 0.1
done

# Whoever has the command's mark in its environment, or its output open: what a command leaves
# running ends with it, as at the end of a container.
end_all() {
  read -r leader <pid && kill -KILL -"$leader"
  for attempt in 1 2 3 4 5 6 7 8 9 10; do
    victims=
    for file in $(grep -lzsF "VFIO_LAB_COMMAND=$id" /proc/[0-9]*/environ); do
      file=\${file#/proc/}
      victims="$victims \${file%/environ}"
    done
    for directory in /proc/[0-9]*; do
      for output in stdout stderr; do
        if [ "$directory/fd/1" -ef $output ] || [ "$directory/fd/2" -ef $output ]; then
          victims="$victims \${directory#/proc/}"
        fi
      done
    done
    [ -n "$victims" ] || return 0
    kill -KILL $victims
    [ $attempt = 1 ] || sleep 0.1
  done
} 2>/dev/null

# The end of a stream, which a port does not have.
end_of_stream() { printf '\\001vfio-lab-%s\\001' "$id"; }

# Does what the host says while a command runs; ends it if the host has gone. A hello is that of
# another program, which was quicker than the news of the end of the first.
obey() {
  while read -r word first second; do
    case $word in
      signal) read -r leader <pid && kill -"$first" -"$leader" ;;
      resize) read -r tty <tty && stty -F "$tty" rows "$first" columns "$second" ;;
      kill) end_all ;;
      hello) : >greeted; break ;;
    esac
  done
  while :; do
    end_all
    kill -KILL $relays
    # Wakes a command that waits for the other end of its pipes.
    : <>stdin <>stdout <>stderr
    sleep 0.1
  done
}

# A port can be open only once, but programs do reopen /dev/stderr: so they get pipes.
run() {
  # What the host has changed since is seen: names are looked up anew, unchanged contents stay.
  echo 2 >/proc/sys/vm/drop_caches
  rm -f pid tty greeted
  { cat; end_of_stream; } <stdout >"$stdout" 3>&- & out=$!
  { cat; end_of_stream; } <stderr >"$stderr" 3>&- & err=$!
  relays="$out $err"
  feed=
  source=/dev/null
  if [ "$input" = pipe ]; then
    source=stdin
    # Writing waits until the host has opened its side; reading would find the end of the stream.
    { echo >&0; exec cat; } <>"$stdin" >stdin 3>&- & feed=$!
    relays="$relays $feed"
  fi
  obey <&3 2>/dev/null & obeying=$!
  ( . ./command ) <$source >stdout 2>stderr
  status=$?
  end_all
  [ -z "$feed" ] || kill -KILL $feed
  wait $relays
  kill -KILL $obeying
  sync
  if [ -e greeted ]; then echo ready >&3; else echo "exit $status" >&3; fi
} 2>/dev/null

serve() {
  slot=$1
  cd ${STAGE2}/$slot
  eval "control=\\$port_\${slot}_control stdin=\\$port_\${slot}_stdin"
  eval "stdout=\\$port_\${slot}_stdout stderr=\\$port_\${slot}_stderr"
  exec 3<>"$control"
  while :; do
    if read -r word length input id <&3; then
      case $word in
        hello) echo ready >&3 ;;
        run) dd bs="$length" count=1 iflag=fullblock of=command <&3 2>/dev/null && run ;;
      esac
    else
      # Nobody is there: writing waits for somebody.
      echo waiting >&3
    fi
  done
}
mkdir ${slots.map((slot) => `${STAGE2}/${slot}`).join(' ')}
mkfifo ${perSlot('stdin')} ${perSlot('stdout')} ${perSlot('stderr')}
# A pipeline and not jobs in the background, whose commands would ignore SIGINT.
${slots.map((slot) => `serve ${slot}`).join(' | ')}
`;
