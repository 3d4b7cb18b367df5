/** Processes without rights. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const NOBODY = 65534;
const library = join(__dirname, '../../dist/index.js');

/** A process that runs `body` as nobody, with `limit` KiB of lockable memory. */
export function nobody(limit: number, body: string, fds: number[] = []) {
  // The library is loaded before the rights are gone: nobody may not see the package's directory.
  const program = `
    const { openAddressSpace, openDevice } = require(${JSON.stringify(library)});
    process.setgroups([]); process.setgid(${NOBODY}); process.setuid(${NOBODY});
    (async () => { ${body} })().catch((error) => {
      const { code, hint, message, path } = error;
      console.log(JSON.stringify({ code, hint, message, path }));
    });
  `;
  return spawn(
    '/bin/sh',
    ['-c', `ulimit -l ${limit}; exec "$0" "$@"`, process.execPath, '-e', program],
    { stdio: ['ignore', 'pipe', 'inherit', ...fds] },
  );
}

/** What it logs. */
export async function asNobody(limit: number, body: string, fds: number[] = []): Promise<string> {
  let output = '';
  for await (const text of nobody(limit, body, fds).stdout!) output += text;
  return output;
}
