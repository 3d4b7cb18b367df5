import { mkdir, rename, rm } from 'node:fs/promises';
import { type BuildContext, runStep } from './build-step';
import type { BuildTools } from './build-tools';

/**
 * Code that a kernel of these options does not have: two thirds of all bytes. Its Kconfig files and
 * Makefiles stay, so that kconfig knows every option.
 */
const LEFT_OUT = [
  ...'arm arm64 mips powerpc m68k s390 sparc sh riscv loongarch'.split(' ').map(architecture),
  ...'gpu media net/wireless scsi accel infiniband staging iio clk'.split(' ').map(drivers),
  ...['*/sound/soc/*.[ch]', '*/Documentation/*/*', '*/tools/perf/*', '*/tools/testing/*'],
].flat();

function architecture(name: string): string[] {
  return [`*/arch/${name}/*.[chS]`, `*/arch/${name}/*.dts*`];
}

function drivers(place: string): string {
  return `*/drivers/${place}/*.[ch]`;
}

export interface SourceUnpacking extends BuildContext {
  tar: string;
  /** The directory to be; appears complete or not at all. */
  target: string;
  tools: BuildTools;
}

/** Unpacks as much of a kernel's source as a build needs, and removes the tar file. */
export async function unpackSource(unpacking: SourceUnpacking): Promise<void> {
  const { tar, target, tools } = unpacking;
  const partial = `${target}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  const left = LEFT_OUT.map((pattern) => `--exclude=${pattern}`);
  await runStep(
    {
      what: 'unpacking the source',
      // On all processors: xz takes most of the time.
      command: ['tar', '-I', 'xz -T0', '-xf', tar, '--strip-components=1', ...left],
      cwd: partial,
      env: tools.env,
    },
    unpacking,
  );
  await rename(partial, target);
  await rm(tar);
}
