import { constants } from 'node:os';

jest.mock('../../src/native', () => require('./fake-native'));

import { brokenRule, explainMapError } from '../../src/dma/explain';
import { systemError } from '../../src/errors';

const geometry = {
  iovaRanges: [
    { start: 0n, end: 0xfedf_ffffn },
    { start: 0xfef0_0000n, end: (1n << 48n) - 1n },
  ],
  pageSizes: 4096n | (1n << 21n),
};
const live = [{ iova: 0x10_0000n, size: 8192 }];
const request = (iova: bigint, size = 4096) => ({ iova, size, pageSize: 4096 });
const rule = (iova: bigint, size?: number) => brokenRule(request(iova, size), geometry, live)?.rule;

test.each([
  [0x1000n, 0, 'size is 0'],
  [0x1800n, 4096, 'no multiples'],
  [0x1000n, 100, 'no multiples'],
  [0x10_1000n, 4096, 'overlaps the mapping [0x100000, 0x101fff]'],
  [0xf_f000n, 1 << 20, 'overlaps'],
  [0xfedf_f000n, 8192, 'reserved window'],
  [0xfee0_0000n, 4096, 'usable are [0x0, 0xfedfffff], [0xfef00000, 0xffffffffffff]'],
  [1n << 48n, 4096, 'above 0xffffffffffff'],
])('0x%s with %i bytes: %s', (iova, size, text) => {
  expect(rule(iova, size)).toContain(text);
});

test('nothing is said against what is right, to the last byte', () => {
  expect(rule(0x1000n)).toBeUndefined();
  expect(rule(0xfedf_f000n)).toBeUndefined();
  expect(rule((1n << 48n) - 4096n)).toBeUndefined();
  expect(rule(0x10_2000n)).toBeUndefined();
  expect(
    brokenRule(request(1n << 60n), { ...geometry, iovaRanges: undefined }, []),
  ).toBeUndefined();
});

const explained = (code: keyof typeof constants.errno, iova = 0x1000n) =>
  explainMapError(
    systemError(-constants.errno[code], 'VFIO_IOMMU_MAP_DMA', { ioctl: 'VFIO_IOMMU_MAP_DMA' }),
    request(iova),
    geometry,
    live,
    'process',
  );

test.each([
  ['ENOSPC', 'room for another mapping', 'pool'],
  ['EFAULT', 'cannot be pinned', 'mapRegion'],
  ['ENOMEM', '', ''],
] as const)('%s keeps its code and says more', (code, message, hint) => {
  expect(explained(code)).toMatchObject({
    code,
    ioctl: 'VFIO_IOMMU_MAP_DMA',
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
    cause: expect.anything(),
  });
});

test('EINVAL and EEXIST name the rule, or say that there is none known', () => {
  expect(explained('EEXIST', 0x10_0000n)).toMatchObject({
    message: expect.stringContaining('overlaps the mapping'),
  });
  expect(explained('EINVAL', 0xfee0_0000n)).toMatchObject({
    message: expect.stringContaining('reserved window'),
  });
  expect(explained('EINVAL')).toMatchObject({ message: expect.stringContaining('does not name') });
});

test('what is no refusal of the kernel passes through', () => {
  const error = new Error('abort');
  expect(explainMapError(error, request(0n), geometry, live, 'process')).toBe(error);
});
