/**
 * The script of a process that stands between this one and QEMU ($1 the VM's directory, then QEMU's
 * command): it ends QEMU when this process ends, however that happens, and removes the directory
 * when QEMU ends. Its descriptor 3 is a pipe from this process: a line `keep` lets QEMU live on.
 */
export const KEEPER = `directory=$1
shift
"$@" </dev/null 3<&- &
qemu=$!
# Messages are QEMU's; one of the shell's own, on a pipe without a reader, would end it.
exec </dev/null 2>/dev/null 4<&- 5<&-
{ read -r word; [ "$word" = keep ] || kill -KILL $qemu; } <&3 &
reading=$!
wait $qemu
status=$?
kill $reading
# Not recursive: the host's files are mounted below, though not as this process sees it.
rm -f "$directory"/*
rmdir "$directory/view" "$directory/empty" "$directory"
exit $status`;

/** The kernel's promise that QEMU does not outlive a keeper that is killed. */
export const BOUND_TO_KEEPER = ['setpriv', '--pdeathsig', 'KILL', '--'] as const;
