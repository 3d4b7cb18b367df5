import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from '../errors';

/**
 * The module files to load for `names`, dependencies first, as paths relative to
 * `directory` (a `/lib/modules/<release>` with depmod's files). What the kernel has built in needs
 * no loading.
 *
 * @throws LabError `LAB_SETUP` if the kernel has one of them neither as a module nor built in
 */
export function moduleLoadOrder(directory: string, names: readonly string[]): string[] {
  const dependencies = parseModulesDep(readFileSync(join(directory, 'modules.dep'), 'utf8'));
  const builtin = new Set(
    readFileSync(join(directory, 'modules.builtin'), 'utf8').split('\n').map(moduleName),
  );
  const order: string[] = [];
  for (const name of names.map(canonical)) {
    if (builtin.has(name)) continue;
    const files = dependencies.get(name);
    if (files === undefined) {
      throw new LabError('LAB_SETUP', `the guest's kernel has no module ${name}`, {
        hint: `looked in ${directory}`,
      });
    }
    for (const file of files) if (!order.includes(file)) order.push(file);
  }
  return order;
}

/** `igbvf` for `kernel/drivers/net/ethernet/intel/igbvf/igbvf.ko.xz`; dashes become underscores. */
export function moduleName(file: string): string {
  const base = file.slice(file.lastIndexOf('/') + 1);
  return canonical(base.replace(/\.ko(\..*)?$/, ''));
}

function canonical(name: string): string {
  return name.replaceAll('-', '_');
}

/** Per module the files to load, in loading order; depmod lists dependencies nearest first. */
function parseModulesDep(text: string): Map<string, string[]> {
  const files = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const file = line.slice(0, colon);
    const needed = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .filter(Boolean);
    files.set(moduleName(file), [...needed.reverse(), file]);
  }
  return files;
}
