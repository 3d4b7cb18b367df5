/** Pinned memory and its limit, for a process whose /proc is written here. */
import { constants } from 'node:os';
import { explainMapError } from '../../src/dma/explain';
import { assertMemlock, type MemlockAccounting, readMemlock } from '../../src/dma/memlock';
import { systemError } from '../../src/errors';

jest.mock('../../src/native', () => require('./fake-native'));

const KiB = 1024;
const LIMIT = 64 * KiB;
let status: string;
let hasProc = true;

jest.mock('node:fs', () => ({
  ...jest.requireActual('node:fs'),
  readFileSync: (path: string) => {
    if (!hasProc) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    return path === '/proc/self/limits'
      ? `Limit  Soft Limit  Hard Limit  Units\nMax locked memory  ${LIMIT}  ${LIMIT}  bytes\n`
      : status;
  },
}));

/** What the kernel notes of `pinned` KiB: a container, iommufd per process, iommufd per user. */
const noted = {
  container: (pinned: number) => [pinned, 0],
  process: (pinned: number) => [pinned, pinned],
  user: (pinned: number) => [0, pinned],
};

function pin(by: keyof typeof noted, pinned: number, capabilities = '0'): void {
  const [locked, pin] = noted[by](pinned);
  status = `VmLck:\t   ${locked} kB\nVmPin:\t   ${pin} kB\nCapEff:\t${capabilities.padStart(16, '0')}\n`;
}

/** The numbers in a hint. */
const pinnedOfLimit = (pinned: number) =>
  expect.stringMatching(new RegExp(`RLIMIT_MEMLOCK.*\\b${LIMIT}\\b.*\\b${pinned}\\b.* pinned`));

test.each([
  ['container', 'process'],
  ['process', 'process'],
  ['user', 'user'],
] as const)('what %s pins counts once', (by, accounting) => {
  pin(by, 32);
  expect(readMemlock(accounting)).toEqual({ limit: LIMIT, locked: 32 * KiB });
  expect(() => assertMemlock(32 * KiB, accounting)).not.toThrow();
  expect(() => assertMemlock(32 * KiB + 1, accounting)).toThrow(
    expect.objectContaining({ code: 'ENOMEM', hint: pinnedOfLimit(32 * KiB) }),
  );
});

describe('ENOMEM of the kernel', () => {
  const geometry = { iovaRanges: undefined, pageSizes: 4096n };
  const request = { iova: 0x1000n, size: 16 * KiB, pageSize: 4096 };
  const refusal = systemError(-constants.errno.ENOMEM, 'map', { syscall: 'ioctl' });
  const explained = (accounting: MemlockAccounting) =>
    explainMapError(refusal, request, geometry, [], accounting);
  const hint = (text: unknown) => expect.objectContaining({ hint: text });
  const memory = expect.stringContaining('free memory');

  test('over the limit is the limit', () => {
    pin('process', 60);
    expect(explained('process')).toEqual(hint(pinnedOfLimit(60 * KiB)));
    pin('user', 60);
    expect(explained('user')).toEqual(hint(pinnedOfLimit(60 * KiB)));
  });

  test('below it is memory, where the process is counted or not bound', () => {
    pin('process', 4);
    expect(explained('process')).toEqual(hint(memory));
    pin('user', 4, '4000');
    expect(explained('user')).toEqual(hint(memory));
  });

  test('below it is either, where other processes of the user count', () => {
    pin('user', 4);
    expect(explained('user')).toEqual(hint(expect.stringContaining('all processes of the user')));
    expect(explained('user')).toEqual(hint(pinnedOfLimit(4 * KiB)));
    expect(explained('user')).toEqual(hint(memory));
  });
});

describe('without /proc', () => {
  beforeEach(() => {
    hasProc = false;
  });
  afterEach(() => {
    hasProc = true;
  });

  test.each(['process', 'user'] as const)(
    'the limit of a %s is unknown, and refuses nothing',
    (by) => {
      expect(readMemlock(by)).toBeUndefined();
      expect(() => assertMemlock(2 ** 40, by)).not.toThrow();
      const refusal = systemError(-constants.errno.ENOMEM, 'map', { syscall: 'ioctl' });
      const request = { iova: 0x1000n, size: 4096, pageSize: 4096 };
      const geometry = { iovaRanges: undefined, pageSizes: 4096n };
      expect(explainMapError(refusal, request, geometry, [], by)).toMatchObject({
        code: 'ENOMEM',
        hint: expect.stringContaining('/proc/self cannot be read'),
      });
    },
  );
});
