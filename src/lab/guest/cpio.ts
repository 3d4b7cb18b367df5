/** One member of an initramfs; directories must come before what lies in them. */
export type CpioEntry =
  | { kind: 'directory'; path: string }
  | { kind: 'file'; path: string; data: Uint8Array; executable?: boolean }
  | { kind: 'symlink'; path: string; target: string };

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;

/**
 * Packs entries into a cpio archive of the "newc" kind, the one the kernel unpacks
 * (Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root.
 */
export function packCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => member(index + 1, entry));
  parts.push(...record(0, 'TRAILER!!!', 0, Buffer.alloc(0)));
  return Buffer.concat(parts);
}

function member(inode: number, entry: CpioEntry): Uint8Array[] {
  switch (entry.kind) {
    case 'directory':
      return record(inode, entry.path, S_IFDIR | 0o755, Buffer.alloc(0));
    case 'file':
      return record(inode, entry.path, S_IFREG | (entry.executable ? 0o755 : 0o644), entry.data);
    case 'symlink':
      return record(inode, entry.path, S_IFLNK | 0o777, Buffer.from(entry.target));
  }
}

function record(inode: number, path: string, mode: number, data: Uint8Array): Uint8Array[] {
  const name = Buffer.from(`${path}\0`);
  const links = (mode & S_IFDIR) === S_IFDIR ? 2 : 1;
  // inode, mode, uid, gid, nlink, mtime, size, 2 device numbers, name size, checksum
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return [
    Buffer.from(header),
    name,
    padding(header.length + name.length),
    data,
    padding(data.length),
  ];
}

function padding(length: number): Uint8Array {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
