#!/usr/bin/env node
// npm test: every check there is, one after the other, and a summary at the end.
import { cli, hasLabKernel, ready, root, run, tool } from './ready.mjs';

const jest = ['jest/bin/jest.js', '--selectProjects'];

// Below 4 GiB in one piece, so that there is room for a page of 1 GiB.
const memory = ['--memory', '2800M', '--append', 'hugepagesz=1G hugepages=1'];
const devices = ['igb', 'edu', 'nvme', 'e1000e-pair', 'nvme-disk', 'igb-pair', 'igb-pair'].flatMap(
  (device) => ['--device', device],
);

/** Runs a project of jest in a VM. */
function inVm(project, options, jestOptions = []) {
  return cli([
    ...['lab', '--timeout', '2700', ...options],
    ...['--', 'node', 'node_modules/jest/bin/jest.js'],
    ...[
      '--selectProjects',
      project,
      '--runInBand',
      '--cacheDirectory',
      '/tmp/jest',
      ...jestOptions,
    ],
  ]);
}

/** The command asks little of the kernel, and each of its processes takes seconds to start. */
function onLabKernelInVm() {
  console.log('The command (vm/cli) is tried on the stock kernel only.');
  const options = ['--kernel', 'lab', ...devices, ...memory];
  return inVm('vm', options, ['--testPathIgnorePatterns', '/node_modules/', 'vm/cli']);
}

const suites = [
  ['format and lint', () => tool('@biomejs/biome/bin/biome', ['check', '.'])],
  ['format of native/', () => run(process.execPath, ['scripts/clang-format.mjs'])],
  ['types', () => tool('typescript/bin/tsc', ['--noEmit'])],
  ['unit tests', () => tool(jest[0], [jest[1], 'unit'])],
  ['addon', () => tool(jest[0], [jest[1], 'addon', '--runInBand'])],
  [
    'addon with sanitizers',
    () =>
      run(process.execPath, ['scripts/build-asan.mjs']) ||
      run(process.execPath, ['scripts/test-asan.mjs']),
  ],
  ['lab', () => tool(jest[0], [jest[1], 'lab', '--runInBand'])],
  ['in the VM, stock kernel', () => inVm('vm', [...devices, ...memory])],
];

const onLabKernel = [
  [
    'in the VM, lab kernel: iommufd, character devices, mediated devices, mock IOMMU',
    onLabKernelInVm,
  ],
  [
    'in a VM without an IOMMU, lab kernel',
    () =>
      inVm('noiommu', [
        ...['--kernel', 'lab', '--device', 'edu,dma_mask=0xffffffff'],
        ...['--append', 'intel_iommu=off vfio.enable_unsafe_noiommu_mode=1 hpet=disable'],
      ]),
  ],
];

process.chdir(root);
ready();
if (hasLabKernel()) suites.push(...onLabKernel);
const results = suites.map(([name, suite]) => {
  console.log(`\n=== ${name}`);
  const start = Date.now();
  const passed = suite() === 0;
  return { name, passed, seconds: Math.round((Date.now() - start) / 1000) };
});

console.log('\n=== summary');
for (const { name, passed, seconds } of results) {
  console.log(`${passed ? 'pass' : 'FAIL'}  ${name} (${seconds} s)`);
}
const failed = results.filter(({ passed }) => !passed).length;
if (!hasLabKernel()) {
  const names = onLabKernel.map(([name]) => name).join('; ');
  console.log(`not run, as there is no lab kernel (npm run lab-kernel builds it): ${names}`);
}
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
