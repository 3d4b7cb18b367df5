// The suites of npm test, and the jobs that they are split into.
import { join } from 'node:path';
import { root } from '../ready.mjs';
import { deal } from './deal.mjs';
import { BUNDLES, bundleTests, testFiles, vmFiles } from './vm-files.mjs';

/** A VM costs about 20 seconds before its first test, without KVM. */
const WORTH_A_VM = 60_000;

const jest = join(root, 'node_modules/jest/bin/jest.js');
const node = (...args) => ({ command: process.execPath, args });
const tool = (name, ...args) => node(join(root, 'node_modules', name), ...args);

/** Where the reporter of a job leaves its times. */
export const TIMES = join(root, 'build/test-times');

/** A suite without files of tests: `commands`, one after the other. */
const check = (name, title, commands) => ({ name, title, files: () => [], commands });

/** The test files of a project of jest, on the host, run by `script` if jest's own will not do. */
const onHost = (name, title, { project = name, script = jest, before = [], except } = {}) => ({
  ...{ name, title, project, script, before },
  place: 'host',
  files: () => testFiles(`test/${project}`).filter((file) => file !== except),
});

/** Below 4 GiB in one piece, so that there is room for a page of 1 GiB. */
const memory = ['--memory', '2800M', '--append', 'hugepagesz=1G hugepages=1'];
const kinds = ['igb', 'edu', 'nvme', 'e1000e-pair', 'nvme-disk', 'igb-pair', 'igb-pair'];
const devices = kinds.flatMap((device) => ['--device', device]);

const inVm = (name, title, place, files, options) => ({ name, title, place, files, vm: options });

const onIommu = (iommu) =>
  inVm(
    `vm-${iommu.replace(/\W+/g, '-')}`,
    `in a VM with --iommu ${iommu}, stock kernel`,
    iommu,
    () => testFiles('test/iommu'),
    ['--iommu', iommu, ...devices, ...memory],
  );

/** In the order in which they are worth knowing about. */
export const suites = [
  check('format', 'format and lint', [
    tool('@biomejs/biome/bin/biome', 'check', '.'),
    node('scripts/clang-format.mjs'),
  ]),
  check('types', 'types', [tool('typescript/bin/tsc', '--noEmit')]),
  onHost('unit', 'unit tests'),
  onHost('addon', 'addon'),
  onHost('sanitizers', 'addon with sanitizers', {
    project: 'addon',
    script: 'scripts/test-asan.mjs',
    before: [node('scripts/build-asan.mjs')],
    // What the package holds is the same in any build of the addon.
    except: 'test/addon/package.test.ts',
  }),
  onHost('lab', 'the lab'),
  inVm('vm-stock', 'in the VM, stock kernel', 'stock', () => vmFiles('stock'), [
    ...devices,
    ...memory,
  ]),
  ...['amd', 'virtio', 'intel,aw-bits=39'].map(onIommu),
  inVm('vm-lab', 'in the VM, lab kernel', 'lab', () => vmFiles('lab'), [
    ...['--kernel', 'lab'],
    ...devices,
    ...memory,
  ]),
  inVm(
    'vm-noiommu',
    'in a VM without an IOMMU, lab kernel',
    'noiommu',
    () => testFiles('test/noiommu'),
    [
      ...['--kernel', 'lab', '--device', 'edu,dma_mask=0xffffffff'],
      ...['--append', 'intel_iommu=off vfio.enable_unsafe_noiommu_mode=1 hpet=disable'],
    ],
  ),
];

/** Those of --quick. */
export const QUICK = ['format', 'types', 'unit', 'addon'];

export const needsLabKernel = ({ vm }) => vm?.includes('lab') ?? false;

/**
 * The jobs of a suite, none if no file of it is wanted. One that boots VMs becomes as many as can
 * run side by side, if that is worth it.
 *
 * @param wanted which test files; undefined for all, and for what has no files, too
 */
export async function jobsOf(suite, { wanted, slots, testName, times }) {
  if (suite.commands) return wanted ? [] : [suite];
  const files = suite.files().filter((file) => wanted?.(file) ?? true);
  const cost = (file) => times.of(suite.place, file);
  const total = files.reduce((sum, file) => sum + cost(file), 0);
  const inVms = suite.vm !== undefined || suite.project === 'lab';
  const hands = inVms ? Math.max(1, Math.min(slots, Math.floor(total / WORTH_A_VM))) : 1;
  const options = testName === undefined ? [] : ['--testNamePattern', testName];
  const dealt = deal(files, hands, cost).filter(({ items }) => items.length > 0);
  return Promise.all(
    dealt.map(({ items }, index) => {
      const [name, title] =
        hands === 1
          ? [suite.name, suite.title]
          : [`${suite.name}-${index + 1}`, `${suite.title} (${index + 1}/${hands})`];
      const job = { ...suite, name, title };
      return suite.vm ? vmJob(job, items, options) : hostJob(job, items, options);
    }),
  );
}

function hostJob(job, files, options) {
  const reported = join(TIMES, `${job.name}.json`);
  const project = ['--selectProjects', job.project, '--runInBand', ...options];
  const reporters = [
    '--reporters',
    'default',
    '--reporters',
    join(root, 'test/times-reporter.cjs'),
  ];
  const run = node(job.script, ...project, ...reporters, '--runTestsByPath', ...files);
  const env = { VFIO_TEST_TIMES: reported };
  return { ...job, reported, commands: [...job.before, { ...run, env }] };
}

async function vmJob(job, files, options) {
  await bundleTests(job.name, files);
  const out = join(TIMES, job.name);
  const reported = join(out, 'times.json');
  const config = {
    rootDir: join(root, BUNDLES),
    testEnvironment: 'node',
    testMatch: [`<rootDir>/${job.name}.test.js`],
    // All was done on the host.
    transform: {},
    haste: { forceNodeFilesystemAPI: true },
    watchman: false,
    // An emulated processor is 10 to 30 times slower; a hang is still found.
    testTimeout: 300_000,
    verbose: true,
    reporters: ['default', join(root, 'test/times-reporter.cjs')],
  };
  // Two processors, which QEMU emulates in one thread: igbvf waits for the answer of its PF's driver
  // without giving up the processor that it runs on.
  const command = node(
    ...[join(root, 'dist/cli.js'), 'lab', '--cpus', '2', '--timeout', '2700', '--out', out],
    ...job.vm,
    ...['--', 'node', jest, '--config', JSON.stringify(config), '--runInBand'],
    ...['--cacheDirectory', '/tmp/jest', ...options],
  );
  const env = { VFIO_TEST_TIMES: reported };
  return { ...job, reported, commands: [{ ...command, env }] };
}
