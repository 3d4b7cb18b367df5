import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packagesOf, parseTrace } from '../../src/lab/packages/program';
import { prepareLab } from '../../src/lab/setup';
import { installedQemu, qemuAt, unpackedQemu } from '../../src/lab/tools/qemu';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A program that says that it is what `text` says. */
function writeProgram(path: string, text: string): string {
  writeFileSync(path, `#!/bin/sh\necho '${text}'\n`);
  chmodSync(path, 0o755);
  return path;
}

describe('an unpacked program', () => {
  test('lacks what the loader did not find, and what it found on the machine', () => {
    const trace = `\tlinux-vdso.so.1 (0x00007fff)
\tlibcapstone.so.5 => not found
\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)
\tlibc.so.6 => /cache/q/usr/lib/x86_64-linux-gnu/libc.so.6 (0x00007f)
\tlibq.so.6 => /cache/qemu/libq.so.6 (0x00007f)
`;
    expect(parseTrace(trace, '/cache/q')).toEqual(['libcapstone.so.5', 'libz.so.1', 'libq.so.6']);
  });

  test.each([
    ['libpng16.so.16', 'libpng16-16t64'],
    ['libglib-2.0.so.0', 'libglib2.0-0t64'],
    ['libaio.so.1t64', 'libaio1t64'],
    ['libnl-3.so.200', 'libnl-3-200'],
    ['libjpeg.so.62', 'libjpeg62-turbo'],
    ['libstdc++.so.6', 'libstdc++6'],
    ['libz.so.1', 'zlib1g'],
    ['libcrypto.so.3', 'libssl3t64'],
  ])('gets %s from %s', (soname, name) => {
    expect(packagesOf([soname], ['adduser', name, 'libsystemd0'])).toEqual([name]);
  });

  test('gets all that is left if no name tells', () => {
    expect(packagesOf(['libodd.so.1'], ['adduser', 'odd-runtime'])).toEqual([
      'adduser',
      'odd-runtime',
    ]);
    expect(packagesOf(['libodd.so.1'], [])).toEqual([]);
  });
});

describe('--qemu', () => {
  test('is taken if it is a QEMU that is new enough', async () => {
    const path = writeProgram(join(directory, 'q'), 'QEMU emulator version 8.2.2 (Debian 1:8.2.2)');
    expect(await qemuAt(path)).toEqual({ version: '8.2.2', path, command: [path], env: {} });
  });

  test.each([
    ['QEMU emulator version 7.2.22', /is QEMU 7\.2\.22/],
    ['GNU bash, version 5.2', /is not a QEMU/],
  ])('is refused if it is %s', async (text, message) => {
    const path = writeProgram(join(directory, 'q'), text);
    const refused = prepareLab({ kernel: 'stock', qemu: path, progress: () => {} });
    await expect(refused).rejects.toMatchObject({
      code: 'LAB_ARGUMENT',
      message: expect.stringMatching(message),
    });
  });

  test('is refused if there is none', async () => {
    await expect(qemuAt(join(directory, 'none'))).rejects.toMatchObject({
      code: 'LAB_ARGUMENT',
      message: expect.stringContaining('ENOENT'),
    });
  });
});

describe('without --qemu', () => {
  const before = { ...process.env };
  beforeEach(() => {
    process.env.XDG_CACHE_HOME = directory;
  });
  afterEach(() => {
    for (const name of ['XDG_CACHE_HOME', 'PATH']) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  });

  test('the newest unpacked one is run by its own loader, with its own files', () => {
    expect(unpackedQemu()).toBeUndefined();
    for (const version of ['11.1.3+ds-1', '10.0.2+ds-2', '11.1.12+ds-1']) {
      mkdirSync(join(directory, 'vfio/qemu', version), { recursive: true });
    }
    const root = join(directory, 'vfio/qemu/11.1.12+ds-1');
    const qemu = unpackedQemu();
    expect(qemu).toMatchObject({
      version: '11.1.12+ds-1',
      path: join(root, 'usr/bin/qemu-system-x86_64'),
      env: { QEMU_MODULE_DIR: join(root, 'usr/lib/x86_64-linux-gnu/qemu') },
    });
    expect(qemu?.command.slice(0, 3)).toEqual([
      join(root, 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2'),
      '--library-path',
      join(root, 'usr/lib/x86_64-linux-gnu'),
    ]);
    expect(qemu?.command).toContain(join(root, 'usr/share/seabios'));
  });

  test("the machine's own one counts if it is new enough", async () => {
    process.env.PATH = `${directory}:/usr/bin:/bin`;
    writeProgram(join(directory, 'qemu-system-x86_64'), 'QEMU emulator version 9.2.1');
    expect(await installedQemu()).toMatchObject({ version: '9.2.1' });
    writeProgram(join(directory, 'qemu-system-x86_64'), 'QEMU emulator version 7.2.22');
    expect(await installedQemu()).toBeUndefined();
  });
});
