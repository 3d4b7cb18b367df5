import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as constants from '../../src/ioctl/constants';
import * as iommufdConstants from '../../src/ioctl/iommufd-constants';
import * as iommufdStructs from '../../src/ioctl/iommufd-structs';
import * as vendorStructs from '../../src/ioctl/iommufd-vendor-structs';
import type { Struct } from '../../src/ioctl/layout';
import { requests } from '../../src/ioctl/requests';
import * as structs from '../../src/ioctl/structs';

/** What a C program printed that was compiled against the kernel's headers. */
const abi: {
  requests: Record<string, number>;
  constants: Record<string, number>;
  structs: Record<string, { size: number; fields: Record<string, [offset: number, size: number]> }>;
} = JSON.parse(readFileSync(join(__dirname, '../fixtures/abi.json'), 'utf8'));

const layouts: Record<string, Struct> = { ...structs, ...iommufdStructs, ...vendorStructs };
const values: Record<string, number> = { ...constants, ...iommufdConstants };

test('request numbers are those that a C compiler takes from the headers', () => {
  expect(requests).toMatchObject(abi.requests);
});

test('so are flags and identifiers', () => {
  expect(values).toMatchObject(abi.constants);
});

test.each(Object.entries(abi.structs))('so are size and fields of struct %s', (name, expected) => {
  const { size, fields } = layouts[name]!;
  const places = Object.entries(fields).map(([field, { offset, size }]) => [field, [offset, size]]);
  expect({ size, fields: Object.fromEntries(places) }).toEqual(expected);
});

test('no struct of iommufd is left unchecked', () => {
  const known = Object.keys({ ...iommufdStructs, ...vendorStructs });
  expect(Object.keys(abi.structs)).toEqual(expect.arrayContaining(known));
});
