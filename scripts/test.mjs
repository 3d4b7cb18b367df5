#!/usr/bin/env node
// npm test: every check there is, one after the other, and a summary at the end.
import { cli, ready, root, run, tool } from './ready.mjs';

const jest = ['jest/bin/jest.js', '--selectProjects'];
const devices = ['igb', 'edu', 'nvme', 'e1000e-pair'].flatMap((device) => ['--device', device]);

// Below 4 GiB in one piece, so that there is room for a page of 1 GiB.
const memory = ['--memory', '2800M', '--append', 'hugepagesz=1G hugepages=1'];

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
  [
    'in the VM, stock kernel',
    () =>
      cli([
        ...['lab', '--timeout', '1800', ...devices, ...memory],
        ...['--', 'node', 'node_modules/jest/bin/jest.js'],
        ...['--selectProjects', 'vm', '--runInBand', '--cacheDirectory', '/tmp/jest'],
      ]),
  ],
];

process.chdir(root);
ready();
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
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
