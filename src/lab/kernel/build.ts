import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LabError } from '../errors';
import { type BuildContext, runStep } from './build-step';
import type { BuildTools } from './build-tools';
import { kernelConfigPath, unmetOptions } from './config';
import { CompilationProgress } from './progress';
import { kernelRelease } from './resolve';

/** Of a built kernel: how many files were compiled, for the next one's estimate. */
export const COUNT_FILE = 'compiled-files';

/** Where a build finds its source, works, and leaves what it has made. */
export interface KernelBuild extends BuildContext {
  /** Has the source in `source`, and gets all the rest. */
  directory: string;
  tools: BuildTools;
  progress(line: string): void;
}

/**
 * Builds a kernel with the lab's options. What an interrupted build has compiled is not compiled
 * again.
 *
 * @returns a directory with `vmlinuz`, `lib/modules`, `headers` (for user space) and `config`
 * @throws LabError `LAB_SETUP` if the source lacks an option, or does not compile
 */
export async function compileKernel(build: KernelBuild): Promise<string> {
  const { directory, progress, tools } = build;
  const source = join(directory, 'source');
  const objects = join(directory, 'objects');
  const result = join(directory, 'result');
  // Its last step moves things there, and is done anew.
  await rm(result, { recursive: true, force: true });
  await Promise.all([objects, result].map((path) => mkdir(path, { recursive: true })));
  const make = (what: string, args: readonly string[], onLine?: (line: string) => void) =>
    runStep(
      {
        what,
        command: ['make', `O=${objects}`, ...tools.makeArguments, ...args],
        cwd: source,
        env: {
          ...tools.env,
          KCONFIG_ALLCONFIG: kernelConfigPath(),
          KBUILD_BUILD_USER: 'vfio',
          KBUILD_BUILD_HOST: 'lab',
        },
        onLine,
      },
      build,
    );

  await make('configuring the kernel', ['allnoconfig']);
  await requireOptions(join(objects, '.config'));

  // One more than there are processors, as each waits for files now and then.
  const jobs = availableParallelism() + 1;
  progress(`compiling, ${jobs} files at a time`);
  const counter = new CompilationProgress(progress, await countObjects(objects));
  await make('compiling the kernel', [`-j${jobs}`, 'bzImage', 'modules', 'headers'], (line) =>
    counter.see(line),
  );

  const moduleTarget = [`INSTALL_MOD_PATH=${result}`, 'INSTALL_MOD_STRIP=1', 'modules_install'];
  await make('installing the modules', moduleTarget);
  const image = join(result, 'vmlinuz');
  await copyFile(join(objects, 'arch', 'x86', 'boot', 'bzImage'), image);
  await copyFile(join(objects, '.config'), join(result, 'config'));
  await writeFile(join(result, COUNT_FILE), `${counter.files}\n`);
  // A link to the build, which is about to go.
  await rm(join(result, 'lib', 'modules', kernelRelease(image), 'build'), { force: true });
  await rename(join(objects, 'usr', 'include'), join(result, 'headers'));
  return result;
}

/** How many files have been compiled below a directory; 0 if there is none. */
async function countObjects(directory: string): Promise<number> {
  const names = await readdir(directory, { recursive: true });
  return names.filter((name) => name.endsWith('.o')).length;
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
