/** What is published, unpacked elsewhere: its files, and that it works with nothing beside it. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { addonPath } from './support';

const root = join(__dirname, '../..');
const user = mkdtempSync(join(tmpdir(), 'vfio-package-'));
const unpacked = join(user, 'node_modules/vfio');
let files: string[];

beforeAll(() => {
  if (!existsSync(join(root, 'dist/index.js'))) throw new Error('no dist/: run `npm run build`');
  mkdirSync(unpacked, { recursive: true });
  // npm needs no sanitizer, which is preloaded for the addon.
  const { LD_PRELOAD: _, ...env } = process.env;
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', user];
  const options = { cwd: root, env, encoding: 'utf8', stdio: 'pipe' } as const;
  const [packed] = JSON.parse(execFileSync('npm', args, options));
  execFileSync('tar', [
    '-xzf',
    join(user, packed.filename),
    '-C',
    unpacked,
    '--strip-components=1',
  ]);
  files = packed.files.map(({ path }: { path: string }) => path);
});
afterAll(() => rmSync(user, { recursive: true, force: true }));

/** In a project that depends on the package; what it prints. */
function node(args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  return execFileSync(process.execPath, args, {
    cwd: user,
    env: { ...process.env, VFIO_ADDON: addonPath, XDG_CACHE_HOME: user, ...env },
    encoding: 'utf8',
  });
}

const evaluate = (code: string) => JSON.parse(node(['-p', `JSON.stringify(${code})`]));

interface SourceMap {
  readonly sources: string[];
}

/** The sources that a file was made from, as paths in the package; what came from npm is not there. */
function sourcesOf(map: string): string[] {
  const { sources } = JSON.parse(readFileSync(join(unpacked, map), 'utf8')) as SourceMap;
  return sources
    .map((source) => join(dirname(map), source))
    .filter((path) => !path.includes('node_modules/'));
}

test('the files: the package, its types, the sources of both, and no strays', () => {
  const kinds = [
    /^(CHANGELOG\.md|LICENSE|README\.md|binding\.gyp|package\.json)$/,
    /^dist\/(index|lab|cli|chunks\/[\w-]+)\.js(\.map)?$/,
    /^dist\/THIRD-PARTY-LICENSES\.txt$/,
    /^dist\/types\/[\w/-]+\.d\.ts(\.map)?$/,
    /^native\/(\w+\.(cc|h)|sources\.txt)$/,
    /^src\/[\w/-]+(\.d)?\.ts$/,
    /^src\/lab\/kernel\/kernel\.config$/,
    /^examples\/[\w/-]+\.ts$/,
  ];
  expect(files.filter((file) => !kinds.some((kind) => kind.test(file)))).toEqual([]);
  for (const kind of kinds)
    expect([kind, files.some((file) => kind.test(file))]).toEqual([kind, true]);
  expect(files.filter((file) => /^dist\/.*\.js$/.test(file)).length).toBeLessThan(30);
});

test('maps lead from code and types to sources that are there', () => {
  const maps = files.filter((file) => file.endsWith('.map'));
  for (const map of maps) {
    for (const source of sourcesOf(map))
      expect([map, files]).toEqual([map, expect.arrayContaining([source])]);
  }
  expect(maps.flatMap(sourcesOf)).toContain('src/index.ts');
});

test('no source is in two of the files, so whoever loads them has one copy of each', () => {
  const sources = files.filter((file) => /\.js\.map$/.test(file)).flatMap(sourcesOf);
  expect(sources.length).toBeGreaterThan(200);
  expect(sources.filter((source, i) => sources.indexOf(source) !== i)).toEqual([]);
});

test('vfio and vfio/lab share what they load, and need no other package', () => {
  const loaded = (...names: string[]): string[] =>
    evaluate(
      `(${names.map((name) => `require('${name}')`).join()}, Object.keys(require.cache).filter((path) => path.endsWith('.js')))`,
    );
  const chunk = /^dist\/(index|lab|chunks\/[\w-]+)\.js$/;
  const [library, lab, both] = [loaded('vfio'), loaded('vfio/lab'), loaded('vfio', 'vfio/lab')];
  for (const path of both) expect(path.replace(`${unpacked}/`, '')).toMatch(chunk);
  expect([...both].sort()).toEqual([...new Set([...library, ...lab])].sort());
  expect(both.length).toBeLessThan(library.length + lab.length);
});

test('all entries load, by require and by import', () => {
  const exported = (name: string) => evaluate(`Object.keys(require('${name}')).sort()`);
  expect(exported('vfio')).toEqual(expect.arrayContaining(['openDevice', 'VfioError']));
  expect(exported('vfio/lab')).toEqual(expect.arrayContaining(['startLab', 'LabError']));
  expect(evaluate(`require('vfio/package.json').name`)).toBe('vfio');
  const module = `import { openDevice } from 'vfio'; import { startLab } from 'vfio/lab';
    console.log(typeof openDevice, typeof startLab);`;
  expect(node(['--input-type=module', '-e', module])).toBe('function function\n');
  const inside = `(() => { try { require('vfio/dist/cli.js') } catch ({ code }) { return code } })()`;
  expect(evaluate(inside)).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED');
});

test('the files that are read at run time are found', () => {
  // The options of the lab kernel: their hash is the name of what is looked for in the cache.
  expect(evaluate(`String(require('vfio/lab').findLabKernel())`)).toBe('undefined');
});

test('the command works; what needs no device does so without the addon', () => {
  const manifest = JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8'));
  const vfio = join(unpacked, manifest.bin.vfio);
  expect(readFileSync(vfio, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  expect(node([vfio, '--help'])).toContain('Usage: vfio');
  expect(node([vfio, '--version']).trim()).toBe(manifest.version);
  const devices = JSON.parse(node([vfio, 'list', '--json'], { VFIO_ADDON: '/nonexistent' }));
  expect(devices).toHaveLength(readdirSync('/sys/bus/pci/devices').length);
  expect(node([vfio, 'lab', '--help'], { VFIO_ADDON: '/nonexistent' })).toContain('--device');
});

test('the types are complete', () => {
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
  const libraries = ['--lib', 'es2022,esnext.disposable', '--types', 'node'];
  const typeRoots = ['--typeRoots', join(root, 'node_modules/@types')];
  const program = join(user, 'program.ts');
  const text = `import { openDevice, type Device } from 'vfio';
    import { startLab } from 'vfio/lab';
    export const open: Promise<Device> = openDevice('0000:00:01.0');
    export const lab = startLab().then((vm) => vm.run(['true']));
    // @ts-expect-error a number is no address: the types are not any
    openDevice(1);`;
  writeFileSync(program, text);
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  expect(node([tsc, ...options, ...libraries, ...typeRoots, program])).toBe('');
});
