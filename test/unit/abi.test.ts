import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Struct } from '../../src/ioctl/abi/layout';
import { since } from '../../src/ioctl/abi/releases';
import { uapi } from '../../src/ioctl/abi/uapi';
import { findLabKernel } from '../../src/lab/kernel/cache';
import { type CompiledAbi, compileAbi } from './uapi-probe';

const fixture = join(__dirname, '../fixtures/abi.json');

/** The headers to compile against: those of the lab kernel, or those named here. */
const headers = process.env.VFIO_ABI_HEADERS ?? findLabKernel()?.headers;

const hasGcc = spawnSync('gcc', ['--version']).status === 0;

/**
 * The committed answer of the compiler serves where no lab kernel is built. To write it anew:
 * `VFIO_ABI_HEADERS=<include directory> VFIO_ABI_WRITE=1 npx jest --selectProjects unit abi`.
 */
function expectedAbi(): CompiledAbi {
  const lacking = headers === undefined ? 'no lab kernel is built' : !hasGcc && 'there is no gcc';
  if (headers === undefined || lacking) {
    process.stderr.write(`${lacking}: the ABI is compared with ${fixture}\n`);
    return JSON.parse(readFileSync(fixture, 'utf8'));
  }
  const compiled = compileAbi(headers);
  if (process.env.VFIO_ABI_WRITE) writeFileSync(fixture, `${JSON.stringify(compiled, null, 1)}\n`);
  return compiled;
}

/** Symbols of the headers that the table is right not to have. */
const left: [pattern: RegExp, reason: string][] = [
  [/^IOMMUFD_(TYPE|CMD_\w+)$/, 'halves of the request numbers'],
];

const expected = expectedAbi();
const wanted = Object.keys(expected.constants).filter(
  (name) => !left.some(([pattern]) => pattern.test(name)),
);
const { ioctls, structs, constants, features, capabilities } = uapi();
const table = { ...constants, ...features, ...capabilities };

function places({ size, fields }: Struct) {
  const entries = Object.entries(fields).map(([name, { offset, size }]) => [name, [offset, size]]);
  return { size, fields: Object.fromEntries(entries) };
}

test('requests are those that a C compiler takes from the headers: all, and no others', () => {
  expect(ioctls).toEqual(expected.requests);
});

test('so are constants, features and capabilities', () => {
  expect(table).toEqual(Object.fromEntries(wanted.map((name) => [name, expected.constants[name]])));
});

test('no struct is missing, and none is there that the headers do not have', () => {
  expect(Object.keys(structs).sort()).toEqual(Object.keys(expected.structs).sort());
});

test.each(Object.entries(expected.structs))('size and fields of struct %s', (name, layout) => {
  expect(places(structs[name]!)).toEqual(layout);
});

test('each struct is listed under its own name', () => {
  for (const [name, struct] of Object.entries(structs)) expect(struct.name).toBe(name);
});

test.each(left)('%s is left out for a reason that still applies: %s', (pattern) => {
  expect(Object.keys(expected.constants).filter((name) => pattern.test(name))).not.toEqual([]);
});

test('each name has the release that it appeared in, and no other name has one', () => {
  const names = Object.values(uapi()).flatMap((part) => Object.keys(part));
  expect([...since.keys()].sort()).toEqual(names.sort());
});
