/** Descriptors and mappings of all processes, as far as the caller may see: root sees all. */
import { readlinkSync } from 'node:fs';
import { printable } from '../printable';
import { fileText } from './kernel-files';
import { PROC } from './paths';
import { listDirectory } from './sysfs';

const MAX_TEXT = 16 << 20;

export interface OpenFile {
  readonly fd: string;
  /** What the link in /proc says: a path, or `anon_inode:[vfio-device]`. */
  readonly target: string;
}

export interface Process {
  readonly pid: string;
  /** `node (pid 123)`. */
  readonly name: string;
  files(): OpenFile[];
  /** What its descriptor says of itself (proc(5), fdinfo). */
  fdinfo(fd: string): string;
  /** The files that it has mapped. */
  mappings(): Set<string>;
}

/** All that there are now; of each, what was read once stays so. */
export function processes(): Process[] {
  return listDirectory(PROC)
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => ({
      pid,
      get name() {
        return `${printable(text(`${PROC}/${pid}/comm`).trim() || '?')} (pid ${pid})`;
      },
      files: once(() => openFiles(pid)),
      fdinfo: (fd) => text(`${PROC}/${pid}/fdinfo/${fd}`),
      mappings: once(() => mappedFiles(pid)),
    }));
}

function once<T>(read: () => T): () => T {
  let found: { readonly value: T } | undefined;
  return () => {
    found ??= { value: read() };
    return found.value;
  };
}

function openFiles(pid: string): OpenFile[] {
  return listDirectory(`${PROC}/${pid}/fd`).flatMap((fd) => {
    const target = linkTarget(`${PROC}/${pid}/fd/${fd}`);
    return target === undefined ? [] : [{ fd, target }];
  });
}

const DEVICE_FILE = /(?:^|\/)(?:dev|sys)\/|^anon_inode:/;

/** Of devices: proc(5), maps, has the path in the sixth field, which may have spaces. */
function mappedFiles(pid: string): Set<string> {
  const lines = text(`${PROC}/${pid}/maps`).split('\n');
  const paths = lines.map((line) => line.replace(/^(\S+\s+){5}/, ''));
  return new Set(paths.filter((path) => DEVICE_FILE.test(path)));
}

/** Empty where a process ended, or is not ours to look into. */
const text = (path: string) => fileText(path, MAX_TEXT) ?? '';

function linkTarget(link: string): string | undefined {
  try {
    return readlinkSync(link);
  } catch {
    // Closed since it was listed.
    return undefined;
  }
}
