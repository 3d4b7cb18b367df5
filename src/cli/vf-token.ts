/** The VF token of a command line: a secret, which ps(1) shows to all users if it is an argument. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { VfioError } from '../errors';

export interface VfTokenFlags {
  readonly vfToken?: string;
  readonly vfTokenFile?: string;
}

/** `--vf-token UUID`, and `--vf-token-file FILE`, which other users do not see. */
export function withVfToken(command: Command, what: string): Command {
  return command
    .option('--vf-token <UUID>', `${what}; all users see it in ps`)
    .option('--vf-token-file <FILE>', 'the same, from a file; - is standard input');
}

/** As options of the library, where one is given. @throws ERR_VFIO_INVALID_ARGUMENT, ENOENT, EACCES */
export function vfTokenOf({ vfToken, vfTokenFile }: VfTokenFlags): { readonly vfToken?: string } {
  if (vfTokenFile === undefined) return vfToken === undefined ? {} : { vfToken };
  if (vfToken !== undefined) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the VF token is given twice', {
      hint: 'leave out --vf-token or --vf-token-file',
    });
  }
  return { vfToken: readToken(vfTokenFile) };
}

function readToken(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8').trim();
  } catch (cause) {
    const { code = 'EIO' } = cause as NodeJS.ErrnoException;
    const message = `reading the VF token from ${file}: ${code}`;
    throw new VfioError(code, message, { path: file, cause });
  }
}
