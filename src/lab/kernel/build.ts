import { copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LabError } from '../errors';
import { type BuildContext, runStep } from './build-step';
import { kernelConfigPath, unmetOptions } from './config';
import { kernelRelease } from './resolve';

/** Seconds between two lines of progress. */
const REPORT_INTERVAL = 20;

/** Where a build finds its source, works, and leaves what it has made. */
export interface KernelBuild extends BuildContext {
  /** Existing; has the tar file of the source, and gets all the rest. */
  directory: string;
  /** The tar file of the source, removed when it is unpacked. */
  tar: string;
  progress(line: string): void;
}

/**
 * Builds a kernel with the lab's options.
 *
 * @returns a directory with `vmlinuz`, `lib/modules`, `headers` (for user space) and `config`
 * @throws LabError `LAB_SETUP` if the source lacks an option, or does not compile
 */
export async function compileKernel(build: KernelBuild): Promise<string> {
  const { directory, progress } = build;
  const source = join(directory, 'source');
  const objects = join(directory, 'objects');
  const result = join(directory, 'result');
  await Promise.all([source, objects, result].map((path) => mkdir(path)));
  const make = (what: string, args: readonly string[], onLine?: (line: string) => void) =>
    runStep(
      {
        what,
        command: ['make', `O=${objects}`, ...args],
        cwd: source,
        env: {
          KCONFIG_ALLCONFIG: kernelConfigPath(),
          KBUILD_BUILD_USER: 'vfio',
          KBUILD_BUILD_HOST: 'lab',
        },
        onLine,
      },
      build,
    );

  progress('unpacking the source');
  await runStep(
    {
      what: 'unpacking the source',
      command: ['tar', '-xf', build.tar, '--strip-components=1'],
      cwd: source,
    },
    build,
  );
  await rm(build.tar);

  await make('configuring the kernel', ['allnoconfig']);
  await requireOptions(join(objects, '.config'));

  const jobs = availableParallelism();
  progress(`compiling about 2000 files, ${jobs} at a time`);
  const counter = new CompilationCounter(progress);
  await make('compiling the kernel', [`-j${jobs}`, 'bzImage', 'modules', 'headers'], counter.see);

  const moduleTarget = [`INSTALL_MOD_PATH=${result}`, 'INSTALL_MOD_STRIP=1', 'modules_install'];
  await make('installing the modules', moduleTarget);
  const image = join(result, 'vmlinuz');
  await copyFile(join(objects, 'arch', 'x86', 'boot', 'bzImage'), image);
  await copyFile(join(objects, '.config'), join(result, 'config'));
  await rename(join(objects, 'usr', 'include'), join(result, 'headers'));
  // A link to the build, which is about to go.
  await rm(join(result, 'lib', 'modules', kernelRelease(image), 'build'), { force: true });
  return result;
}

async function requireOptions(config: string): Promise<void> {
  const [fragment, complete] = await Promise.all([
    readFile(kernelConfigPath(), 'utf8'),
    readFile(config, 'utf8'),
  ]);
  const unmet = unmetOptions(fragment, complete);
  if (unmet.length === 0) return;
  throw new LabError('LAB_SETUP', `this kernel cannot have ${unmet.join(', ')}`, {
    hint: 'it does not know them, or lacks what they depend on',
  });
}

/** Tells from make's output how far it is. */
class CompilationCounter {
  readonly #start = Date.now();
  readonly #progress: (line: string) => void;
  #reported = this.#start;
  #files = 0;

  constructor(progress: (line: string) => void) {
    this.#progress = progress;
  }

  readonly see = (line: string): void => {
    if (!/^ +(CC|AS)\b/.test(line)) return;
    this.#files++;
    const now = Date.now();
    if (now - this.#reported < REPORT_INTERVAL * 1000) return;
    this.#reported = now;
    this.#progress(`compiled ${this.#files} files in ${duration(now - this.#start)}`);
  };
}

/** `2:05` for 125 seconds. */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}
