/** Stands in for src/pci/paths.ts: a whole machine's files, of this test file's own. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const ROOT = mkdtempSync(join(tmpdir(), 'vfio-machine-'));
const at = (path: string) => join(ROOT, path);

export const SYS = at('sys');
export const PROC = at('proc');
export const DEV = at('dev');
export const DEV_VFIO = at('dev/vfio');
export const BOOT = at('boot');
export const MODULES = at('lib/modules');
export const STATE = at('run/vfio');
export const UDEV_RULES = at('etc/udev/rules.d');
export const PCI_IDS = [at('usr/share/hwdata/pci.ids')];
