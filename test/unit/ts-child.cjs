/** For child processes of tests: loads TypeScript, and the files of a fake machine in place of the real ones. */
const { readFileSync } = require('node:fs');
const Module = require('node:module');
const { join } = require('node:path');
const { transformSync } = require('@swc/core');

const replaced = join(__dirname, '../../src/pci/paths.ts');
const fake = join(__dirname, 'fake-machine-paths.ts');

require.extensions['.ts'] = (module, filename) => {
  const jsc = { parser: { syntax: 'typescript' }, target: 'es2022' };
  const options = { filename, jsc, module: { type: 'commonjs' }, swcrc: false };
  module._compile(transformSync(readFileSync(filename, 'utf8'), options).code, filename);
};

const resolve = Module._resolveFilename;
Module._resolveFilename = (...args) => {
  const found = resolve(...args);
  return found === replaced ? fake : found;
};
