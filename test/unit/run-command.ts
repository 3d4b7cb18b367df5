/** Runs a command of the `vfio` program in this process. */
import type { Command } from 'commander';
import type { Output } from '../../src/cli/output';

export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

/** What a command prints on. */
export function capture(): Output & { readonly text: string } {
  const chunks: string[] = [];
  return {
    isTTY: false,
    write(chunk: string | Uint8Array): boolean {
      chunks.push(chunk.toString());
      return true;
    },
    get text() {
      return chunks.join('');
    },
  };
}

/** A command line that commander refuses is a status and a message, too. */
export async function runCommand(
  command: (output: Output) => Command,
  ...args: string[]
): Promise<Ran> {
  const [output, errors] = [capture(), capture()];
  const stderr = jest
    .spyOn(process.stderr, 'write')
    .mockImplementation((text) => errors.write(text));
  process.exitCode = 0;
  try {
    await command(output)
      .exitOverride()
      .parseAsync(['node', 'vfio', ...args]);
    return { status: Number(process.exitCode), out: output.text, err: errors.text };
  } catch (error) {
    const { exitCode } = error as { exitCode?: number };
    if (exitCode === undefined) throw error;
    return { status: exitCode, out: output.text, err: errors.text };
  } finally {
    process.exitCode = 0;
    stderr.mockRestore();
  }
}
