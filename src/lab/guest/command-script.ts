import { STAGE2 } from './places';
import { quote } from './quote';

/** A command as the guest runs it. */
export interface GuestCommand {
  /** Marks the command's processes and the ends of its streams; hexadecimal. */
  id: string;
  command: readonly string[];
  /** Absolute. */
  cwd: string;
  env: Readonly<Record<string, string>>;
  input: 'none' | 'pipe';
  terminal: { columns: number; rows: number } | undefined;
}

/** The line that has the agent run the script after it, see AGENT. */
export function runRequest(guest: GuestCommand): Buffer {
  const script = Buffer.from(commandScript(guest));
  return Buffer.concat([Buffer.from(`run ${script.length} ${guest.input} ${guest.id}\n`), script]);
}

/** What ends the command's output, see end_of_stream in AGENT. */
export function endOfStream(id: string): string {
  return `\x01vfio-lab-${id}\x01`;
}

/**
 * Becomes the command. It leads a session, so that a signal reaches its children, and is looked up
 * by the host's own shell, as busybox would prefer its applets.
 */
export function commandScript({ id, command, cwd, env, terminal }: GuestCommand): string {
  const variables = { ...env, VFIO_LAB_COMMAND: id };
  const start = 'echo $$ >"$1/pid"; echo started >&3; exec 3>&-; shift; exec "$@"';
  const words = ['/bin/sh', '-c', start, 'vfio lab'].map(quote).join(' ');
  const shell = `${words} "$slot" ${command.map(quote).join(' ')}`;
  return [
    'slot=$PWD',
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`),
    `cd ${quote(cwd)} 2>/dev/null || { echo refused >&3; exit 1; }`,
    terminal === undefined
      ? `exec ${STAGE2}/bin/setsid ${shell}`
      : onTerminal(shell, env.SHELL, terminal),
    '',
  ].join('\n');
}

/** script(1) makes a terminal of two pipes; it has its command run by $SHELL. */
function onTerminal(
  shell: string,
  userShell: string | undefined,
  { columns, rows }: { columns: number; rows: number },
): string {
  const inside = [
    userShell === undefined ? 'unset SHELL' : `SHELL=${quote(userShell)}`,
    `${STAGE2}/bin/stty sane iutf8 rows ${rows} columns ${columns}`,
    `${STAGE2}/bin/tty >"$slot/tty"`,
    `exec ${shell}`,
  ].join('; ');
  return `export slot SHELL=/bin/sh\nexec script -q -e -f -c ${quote(inside)} /dev/null`;
}
