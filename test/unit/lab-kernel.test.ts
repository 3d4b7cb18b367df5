import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { COUNT_FILE } from '../../src/lab/kernel/build';
import { findLabKernel, labKernel } from '../../src/lab/kernel/cache';
import { kernelConfigHash, kernelConfigPath, unmetOptions } from '../../src/lab/kernel/config';
import { CompilationProgress, duration, EXPECTED_FILES } from '../../src/lab/kernel/progress';
import { hostKernel, resolveKernel } from '../../src/lab/kernel/resolve';
import { newestSource } from '../../src/lab/kernel/source';
import {
  distributionSources,
  formatSources,
  LATER_SUITES,
  parseSources,
} from '../../src/lab/packages/apt-sources';
import { compareVersions } from '../../src/lab/packages/versions';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A file with as much of a bzImage's header as tells its release. */
function writeImage(path: string, release: string): void {
  const image = Buffer.alloc(0x400);
  image.write('HdrS', 0x202);
  image.writeUInt16LE(0x100, 0x20e);
  image.write(`${release} (vfio@lab) #1`, 0x300);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, image);
}

describe('options of the lab kernel', () => {
  test('those that a .config lacks are named, whatever became of them', () => {
    const fragment =
      '# a comment\n\nCONFIG_VFIO=y\nCONFIG_IGB=m\nCONFIG_IOMMUFD=y\nCONFIG_NR_CPUS=64\n';
    const config =
      'CONFIG_VFIO=y\nCONFIG_IGB=y\n# CONFIG_IOMMUFD is not set\nCONFIG_NR_CPUS=64\nCONFIG_X=y\n';
    expect(unmetOptions(fragment, config)).toEqual(['CONFIG_IGB=m', 'CONFIG_IOMMUFD=y']);
    expect(unmetOptions(fragment, fragment)).toEqual([]);
  });

  test('the fragment is well-formed and names each option once', () => {
    const lines = readFileSync(kernelConfigPath(), 'utf8').split('\n');
    const options = lines.filter((line) => line !== '' && !line.startsWith('# '));
    expect(options.filter((line) => !/^CONFIG_[A-Z0-9_]+=(y|m|\d+|"[^"]*")$/.test(line))).toEqual(
      [],
    );
    const names = options.map((line) => line.split('=')[0]);
    expect(names).toHaveLength(new Set(names).size);
    expect(names).toEqual(expect.arrayContaining(['CONFIG_IOMMUFD', 'CONFIG_VFIO_DEVICE_CDEV']));
  });
});

describe('source of the lab kernel', () => {
  test('is the newest version, wherever it is', () => {
    const offers = [
      { version: '6.1.176-1', suite: 'bookworm' },
      { version: '7.2.12-1~bpo13+1', suite: 'trixie-backports' },
      { version: '7.2.9-1~bpo13+1', suite: 'trixie-backports' },
      { version: '6.12.95-1~bpo12+1', suite: 'bookworm-backports' },
    ];
    expect(newestSource(offers)).toEqual(offers[1]);
  });

  test('must not be too old', () => {
    const old = [{ version: '6.12.95-1~bpo12+1', suite: 'bookworm-backports' }];
    expect(() => newestSource(old)).toThrow(/7\.2 or newer, of which .* has 6\.12\.95/);
    expect(() => newestSource([])).toThrow(/has none/);
  });

  test('may come from a later release than this machine runs', () => {
    const list =
      'deb http://m.example/debian bookworm main\ndeb http://m.example/debian trixie main';
    const releases = { name: 'Debian', codenames: ['bookworm'] };
    expect(
      formatSources(distributionSources(parseSources('a.list', list), releases, LATER_SUITES)),
    ).toMatch(/^suites: bookworm bookworm-backports trixie trixie-backports$/m);
  });

  test.each([
    ['7.2.9-1', '7.2.12-1'],
    ['6.12.95-1~bpo12+1', '7.2.6-1~bpo13+1'],
    ['7.9', '7.10'],
  ])('%s is older than %s', (older, newer) => {
    expect(compareVersions(older, newer)).toBeLessThan(0);
    expect(compareVersions(newer, older)).toBeGreaterThan(0);
  });
});

describe('lab kernels in the cache', () => {
  const environment = process.env.XDG_CACHE_HOME;
  beforeEach(() => {
    process.env.XDG_CACHE_HOME = directory;
  });
  afterEach(() => {
    if (environment === undefined) delete process.env.XDG_CACHE_HOME;
    else process.env.XDG_CACHE_HOME = environment;
  });

  test('none: there is nothing to find, and --kernel lab says what to do', () => {
    expect(findLabKernel()).toBeUndefined();
    expect(() => resolveKernel('lab')).toThrow(
      expect.objectContaining({
        code: 'LAB_SETUP',
        hint: expect.stringContaining('npx vfio lab kernel'),
      }),
    );
  });

  test('the newest with these options is found, and resolved with its modules', () => {
    for (const version of ['7.2.9-1', '7.2.12-1']) {
      writeImage(labKernel(version).image, '7.2.12-vfio-lab');
    }
    const otherOptions = dirname(labKernel('7.3.4-1').image).replace(
      kernelConfigHash(),
      '0'.repeat(12),
    );
    writeImage(join(otherOptions, 'vmlinuz'), '7.3.4-vfio-lab');
    expect(findLabKernel()).toEqual(labKernel('7.2.12-1'));

    const { image } = labKernel('7.2.12-1');
    expect(resolveKernel('lab')).toEqual({ name: 'lab', image, modules: undefined });
    const modules = join(dirname(image), 'lib', 'modules');
    mkdirSync(join(modules, '7.2.12-vfio-lab'), { recursive: true });
    expect(resolveKernel('lab').modules).toEqual({
      directory: modules,
      release: '7.2.12-vfio-lab',
    });
  });
});

describe('kernel of the machine', () => {
  test.each(['boot/vmlinuz-6.1.0-amd64', 'lib/modules/6.1.0-amd64/vmlinuz'])(
    'is found as %s',
    (path) => {
      writeImage(join(directory, path), '6.1.0-amd64');
      mkdirSync(join(directory, 'lib/modules/6.1.0-amd64'), { recursive: true });
      expect(hostKernel('6.1.0-amd64', directory)).toEqual({
        name: 'host',
        image: join(directory, path),
        modules: { directory: join(directory, 'lib/modules'), release: '6.1.0-amd64' },
      });
    },
  );

  test('is not guessed: no image, or another kernel by that name', () => {
    expect(() => hostKernel('6.1.0-amd64', directory)).toThrow(
      expect.objectContaining({
        code: 'LAB_ARGUMENT',
        hint: expect.stringContaining('boot/vmlinuz-6.1.0-amd64'),
      }),
    );
    writeImage(join(directory, 'boot/vmlinuz-6.1.0-amd64'), '6.2.0-amd64');
    expect(() => hostKernel('6.1.0-amd64', directory)).toThrow(/6\.2\.0-amd64, not 6\.1\.0-amd64/);
  });
});

test('durations read like a clock', () => {
  expect([0, 59_499, 125_000, 3_600_000].map(duration)).toEqual(['0:00', '0:59', '2:05', '60:00']);
});

describe('progress of a build', () => {
  /** What is said when so many files were compiled, one every 100 ms. */
  function said(files: number, before: number): string[] {
    const lines: string[] = [];
    const progress = new CompilationProgress((line) => lines.push(line), before, 0);
    for (let n = 1; n <= files; n++) {
      progress.see('make[2]: Entering directory', n * 100);
      progress.see('  CC [M]  drivers/net/ethernet/intel/igb/igb_main.o', n * 100);
    }
    expect(progress.files).toBe(before + files);
    return lines;
  }

  test('tells every 20 seconds how far it is and how long it will take', () => {
    const lines = said(600, 0);
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(/^compiled 600 of about \d+ files, about 1 min left$/);
  });

  test('goes by the speed of this run, not by what an earlier one has done', () => {
    expect(said(200, EXPECTED_FILES - 1000)[0]).toMatch(/about 1 min left$/);
    expect(said(200, EXPECTED_FILES - 300)[0]).toMatch(/less than a minute left$/);
    expect(said(200, EXPECTED_FILES)[0]).toMatch(/nearly done$/);
  });

  const built = findLabKernel();
  (built ? test : test.skip)('expects as many files as were compiled last, within a fifth', () => {
    const count = readFileSync(join(dirname(built?.image ?? ''), COUNT_FILE), 'utf8');
    expect(Math.abs(Number(count) - EXPECTED_FILES)).toBeLessThan(EXPECTED_FILES / 5);
  });
  if (!built) console.warn('skipped: the count of files of a build, as no lab kernel is built');
});
