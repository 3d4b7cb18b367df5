import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AGENT, APPLETS } from '../../src/lab/guest/agent';
import { commandScript, runRequest } from '../../src/lab/guest/command-script';
import { packCpio } from '../../src/lab/guest/cpio';
import { configScript, hiddenList, INIT } from '../../src/lab/guest/init';
import { moduleLoadOrder, moduleName } from '../../src/lab/guest/modules';
import { kernelRelease } from '../../src/lab/kernel/resolve';
import { ConsoleLog } from '../../src/lab/machine/console';

const guest = {
  id: 'c0ffee',
  command: ['echo', "it's", '$HOME `x` \\', 'two\nlines', ''],
  cwd: "/a'b",
  env: { HOME: '/root', NODE_OPTIONS: "--title='x y'" },
  input: 'pipe',
  terminal: undefined,
} as const;
const layout = {
  modulesDir: "/lib/it's",
  out: undefined,
  hidden: [
    { kind: 'directory', path: '/root/.ssh' },
    { kind: 'file', path: '/root/my keys' },
  ],
} as const;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('ConsoleLog', () => {
  test('keeps the last lines, joins pieces and drops what is not text', () => {
    const log = new ConsoleLog();
    for (let line = 0; line < 100; line++) log.push(`line ${line}\r\n`);
    log.push('\x1b[2J\x1b[?7lSea');
    log.push('BIOS');
    expect(log.lines).toHaveLength(81);
    expect(log.lines[0]).toBe('line 20');
    expect(log.lines.at(-1)).toBe('SeaBIOS');
    expect(log.verdict).toEqual({ kind: 'unknown' });
  });

  test('recognises a panic, even when it arrives in pieces, and keeps the first', () => {
    const log = new ConsoleLog();
    log.push('vfio-lab: cannot do it\n[    7.9] Kernel pan');
    expect(log.verdict).toEqual({ kind: 'init', message: 'cannot do it' });
    log.push('ic - not syncing: Fatal exception\n[    8.0] Kernel panic - not syncing: again\n');
    expect(log.verdict).toEqual({
      kind: 'panic',
      message: 'Kernel panic - not syncing: Fatal exception',
    });
  });

  test('recognises the panics that stand for an oops and a lockup', () => {
    for (const message of ['softlockup: hung tasks', 'Oops: general protection fault']) {
      const log = new ConsoleLog();
      log.push(`[   99.1] Kernel panic - not syncing: ${message}\n`);
      expect(log.verdict.kind).toBe('panic');
    }
  });

  test('is not filled by a line without an end', () => {
    const log = new ConsoleLog();
    for (let i = 0; i < 100; i++) log.push('x'.repeat(1000));
    expect(log.lines.join('').length).toBeLessThanOrEqual(1024);
  });
});

describe('guest scripts', () => {
  test.each([
    ['init', INIT],
    ['agent', AGENT],
    ['config', configScript(layout)],
    ['command', commandScript(guest)],
    ['command on a terminal', commandScript({ ...guest, terminal: { columns: 80, rows: 24 } })],
  ])('%s is valid for a POSIX shell', (name, text) => {
    const file = join(directory, name);
    writeFileSync(file, text);
    execFileSync('/bin/sh', ['-n', file]);
  });

  test('have every program that they use', () => {
    const script = `${INIT}\n${AGENT}`.replace(/\$\(\(.*?\)\)|^ *#.*$|'.*?'|^ *[\w.*]+\)/gm, '');
    const starts = /(?:^ *|(?:[;&|{(]|\bdo|\bthen|\belse) +|\$\()([a-z_]+)(?=[ \n;)]|$)/gm;
    const words = new Set([...script.matchAll(starts)].map(([, word]) => word!));
    const own = new Set([...script.matchAll(/^(\w+)\(\)/gm)].map(([, name]) => name));
    const shell =
      /^(if|then|elif|else|fi|while|until|do|done|for|case|esac|break|continue|return)$/;
    const builtin = /^(cd|echo|eval|exec|exit|export|kill|printf|read|shift|ulimit|wait)$/;
    const programs = [...words].filter((w) => !own.has(w) && !shell.test(w) && !builtin.test(w));
    expect(programs.length).toBeGreaterThan(15);
    expect(programs.filter((name) => !APPLETS.includes(name))).toEqual([]);
  });

  test('quoting survives the shell', () => {
    const file = join(directory, 'config');
    writeFileSync(file, configScript(layout));
    const script = `. "${file}"; printf '%s|%s' "$lab_modules" "$lab_out"`;
    expect(execFileSync('/bin/sh', ['-c', script]).toString()).toBe("/lib/it's|");
  });

  test('a request gives the length of its script in bytes', () => {
    const request = runRequest({ ...guest, command: ['echo', 'ü'] });
    const line = request.subarray(0, request.indexOf('\n') + 1);
    expect(line.toString()).toBe(`run ${request.length - line.length} pipe c0ffee\n`);
  });

  test('the command gets its arguments, environment and directory, and says that it runs', () => {
    const work = join(directory, "a'b");
    mkdirSync(work);
    const session = join(directory, 'setsid');
    writeFileSync(session, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    const show = 'printf "%s;" "$PWD" "$NODE_OPTIONS" "$VFIO_LAB_COMMAND" "$@"';
    const command = ['sh', '-c', show, ...guest.command];
    const script = commandScript({ ...guest, cwd: work, command }).replace(
      '/run/vfio-lab/bin/setsid',
      session,
    );
    writeFileSync(join(directory, 'command'), script);
    const run = 'exec 3>said; . ./command';
    const output = execFileSync('/bin/sh', ['-c', run], { cwd: directory, encoding: 'utf8' });
    expect(output).toBe(`${work};--title='x y';c0ffee;it's;$HOME \`x\` \\;two\nlines;;`);
    expect(readFileSync(join(directory, 'said'), 'utf8')).toBe('started\n');
    expect(Number(readFileSync(join(directory, 'pid'), 'utf8'))).toBeGreaterThan(1);
  });

  test('a command on a terminal gets the same through script(1)', () => {
    const bin = join(directory, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'stty'), '#!/bin/sh\nexec stty "$@"\n', { mode: 0o755 });
    writeFileSync(join(bin, 'tty'), '#!/bin/sh\nexec tty "$@"\n', { mode: 0o755 });
    const show = 'stty size; echo "$SHELL"; printf "%s;" "$@"';
    const script = commandScript({
      ...guest,
      cwd: directory,
      command: ['sh', '-c', show, ...guest.command],
      env: { ...process.env, SHELL: '/bin/fish' } as never,
      terminal: { columns: 90, rows: 25 },
    }).replaceAll('/run/vfio-lab/bin', bin);
    writeFileSync(join(directory, 'command'), script);
    const run = 'exec 3>said; . ./command';
    const output = execFileSync('/bin/sh', ['-c', run], { cwd: directory, encoding: 'utf8' });
    expect(output).toBe('25 90\r\n/bin/fish\r\n' + "it's;$HOME `x` \\;two\r\nlines;;");
    expect(readFileSync(join(directory, 'tty'), 'utf8')).toMatch(/^\/dev\/pts\/\d+\n$/);
    expect(readFileSync(join(directory, 'said'), 'utf8')).toBe('started\n');
  });

  test('what is to be hidden is a line each', () => {
    expect(hiddenList(layout)).toBe('directory /root/.ssh\nfile /root/my keys\n');
  });
});

describe('packCpio', () => {
  test('packs what the cpio format says', () => {
    const archive = packCpio([
      { kind: 'directory', path: 'bin' },
      { kind: 'file', path: 'bin/tool', data: Buffer.from('12345'), executable: true },
      { kind: 'symlink', path: 'bin/alias', target: 'tool' },
    ]);
    expect(archive.length % 4).toBe(0);
    expect(archive.toString('latin1', 0, 6)).toBe('070701');
    const names = [...archive.toString('latin1').matchAll(/070701[0-9a-f]{104}([^\0]+)\0/g)];
    expect(names.map((match) => match[1])).toEqual(['bin', 'bin/tool', 'bin/alias', 'TRAILER!!!']);
    const tool = archive.toString('latin1', archive.indexOf('bin/tool') - 110);
    expect(tool.slice(14, 22)).toBe('000081ed'); // regular file, 0755
    expect(tool.slice(54, 62)).toBe('00000005'); // size
    // Header and name end on a multiple of four, and so does the data.
    expect(archive.indexOf('12345') % 4).toBe(0);
  });
});

describe('moduleLoadOrder', () => {
  beforeEach(() => {
    writeFileSync(
      join(directory, 'modules.dep'),
      [
        'kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz',
        'kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz',
        'kernel/fs/netfs/netfs.ko.xz:',
        'kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz',
        'kernel/drivers/vfio/vfio.ko.xz:',
        '',
      ].join('\n'),
    );
    writeFileSync(join(directory, 'modules.builtin'), 'kernel/drivers/char/virtio_console.ko\n');
  });

  test('puts dependencies first, each module once, and skips what is built in', () => {
    expect(moduleLoadOrder(directory, ['virtio_console', '9p', '9pnet', 'vfio_pci'])).toEqual([
      'kernel/fs/netfs/netfs.ko.xz',
      'kernel/net/9p/9pnet.ko.xz',
      'kernel/fs/9p/9p.ko.xz',
      'kernel/drivers/vfio/vfio.ko.xz',
      'kernel/drivers/vfio/pci/vfio-pci.ko.xz',
    ]);
  });

  test('names the module that a kernel lacks', () => {
    expect(() => moduleLoadOrder(directory, ['overlay'])).toThrow(/no module overlay/);
  });

  test('knows a module by its name in /proc/modules', () => {
    expect(moduleName('kernel/drivers/vfio/pci/vfio-pci-core.ko.zst')).toBe('vfio_pci_core');
  });
});

describe('kernelRelease', () => {
  /** A set-up header with nothing behind it. */
  function image(release: string): string {
    const bytes = Buffer.alloc(0x4000);
    bytes.write('HdrS', 0x202);
    bytes.writeUInt16LE(0x3000 - 0x200, 0x20e);
    bytes.write(`${release} (builder@host) #1 SMP\0`, 0x3000);
    const file = join(directory, 'bzImage');
    writeFileSync(file, bytes);
    return file;
  }

  test('reads the release from the header', () => {
    expect(kernelRelease(image('6.12.95+deb12-amd64'))).toBe('6.12.95+deb12-amd64');
  });

  test.each([
    ['a text', Buffer.from('#!/bin/sh\n')],
    ['an ELF file', Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(0x1000)])],
  ])('refuses %s', (_, bytes) => {
    const file = join(directory, 'other');
    writeFileSync(file, bytes);
    expect(() => kernelRelease(file)).toThrow(/not a bzImage/);
  });

  test('says which file is missing, and what is expected', () => {
    expect(() => kernelRelease(join(directory, 'none'))).toThrow(
      expect.objectContaining({ code: 'LAB_ARGUMENT', hint: expect.stringContaining('stock') }),
    );
  });
});
