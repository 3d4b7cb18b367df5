import fc from 'fast-check';
import { type ConfigSpace, decodeConfigSpace, findCapability } from 'vfio';

/** Config space of an endpoint, with registers written into it: `[offset, byte, byte, ...]`. */
function configSpace(size: number, ...writes: number[][]): ConfigSpace {
  return decodeConfigSpace(configBytes(size, ...writes));
}

function configBytes(size: number, ...writes: number[][]): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set([0x86, 0x80, 0xc9, 0x10, 0x06, 0x04, 0x10, 0x00, 0x01, 0x00, 0x00, 0x02]);
  bytes[0x34] = 0x40;
  for (const [offset, ...values] of writes) bytes.set(values, offset);
  return bytes;
}

test('the header of an endpoint', () => {
  const { header } = configSpace(
    256,
    [0x10, 0x0c, 0x00, 0x00, 0xfe, 0x80, 0x00, 0x00, 0x00],
    [0x18, 0x01, 0xc0, 0x00, 0x00],
    [0x2c, 0xf4, 0x1a, 0x00, 0x11],
    [0x30, 0x01, 0x00, 0xf0, 0xfd],
    [0x3c, 0x0b, 0x01],
  );
  expect(header).toMatchObject({
    type: 'endpoint',
    vendorId: 0x8086,
    deviceId: 0x10c9,
    class: 0x020000,
    revision: 1,
    command: { io: false, memory: true, busMaster: true, intxDisable: true },
    bars: [
      { index: 0, space: 'memory', bits: 64, prefetchable: true, address: '0x80fe000000' },
      { index: 2, space: 'io', bits: 32, prefetchable: false, address: '0xc000' },
    ],
    subsystemVendorId: 0x1af4,
    subsystemId: 0x1100,
    expansionRom: { address: '0xfdf00000', enabled: true },
    interruptLine: 11,
    interruptPin: 1,
  });
});

test('the header of a bridge; a window whose base is above its limit is closed', () => {
  const { header } = configSpace(
    256,
    [0x0e, 0x01],
    [0x18, 0x00, 0x01, 0x03],
    [0x1c, 0xf0, 0x00],
    [0x20, 0x00, 0xfe, 0x10, 0xfe],
    [0x24, 0x01, 0x00, 0xf1, 0x0f, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00],
  );
  expect(header).toMatchObject({
    type: 'bridge',
    primaryBus: 0,
    secondaryBus: 1,
    subordinateBus: 3,
    ioWindow: null,
    memoryWindow: { base: '0xfe000000', limit: '0xfe1fffff', bits: 32 },
    prefetchableWindow: { base: '0x200000000', limit: '0x20fffffff', bits: 64 },
  });
});

test('MSI-X tells where its table and its pending bits are', () => {
  const config = configSpace(256, [0x40, 0x11, 0x00, 0x09, 0x80, 0x03, 0, 0, 0, 0x03, 0x20, 0, 0]);
  expect(findCapability(config, 'msix')).toMatchObject({
    offset: 0x40,
    length: 12,
    name: 'MSI-X',
    enabled: true,
    functionMask: false,
    tableSize: 10,
    table: { bar: 3, offset: 0 },
    pba: { bar: 3, offset: 0x2000 },
  });
});

test('a capability that is not decoded reaches to the next structure, or to the end', () => {
  const { capabilities } = configSpace(256, [0x40, 0x0f, 0x60], [0x60, 0x42, 0x00]);
  expect(capabilities).toMatchObject([
    { kind: 'other', id: 0x0f, name: 'Secure Device', offset: 0x40, length: 0x20 },
    { kind: 'other', id: 0x42, name: 'unknown', offset: 0x60, length: 0xa0 },
  ]);
});

test('extended capabilities follow from 0x100', () => {
  const config = configSpace(
    4096,
    [0x100, 0x03, 0x00, 0x01, 0x14, 1, 2, 3, 4, 5, 6, 7, 8],
    [0x140, 0x15, 0x00, 0x11, 0x00, 0xf0, 0x00, 0x00, 0x00, 0x20, 0x03, 0x01, 0x00],
  );
  expect(config.extendedCapabilities).toMatchObject([
    { kind: 'dsn', version: 1, serialNumber: '0x807060504030201' },
    {
      kind: 'rebar',
      bars: [
        {
          index: 0,
          size: 8 * 2 ** 20,
          supportedSizes: [1, 2, 4, 8].map((mib) => mib * 2 ** 20).concat(2 ** 48),
        },
      ],
    },
  ]);
});

test.each([
  [
    'a loop',
    [
      [0x40, 0x01, 0x48],
      [0x48, 0x03, 0x40],
    ],
    /0x40: the list goes round in a loop/,
  ],
  ['a way into the header', [[0x40, 0x01, 0x3c]], /0x3c: the list may not go there/],
  [
    'all ones',
    [
      [0x40, 0x01, 0xfc],
      [0xfc, 0xff, 0xff, 0xff, 0xff],
    ],
    /0xfc: reads as all ones/,
  ],
  [
    'an end too early',
    [
      [0x40, 0x03, 0xfc],
      [0xfc, 0x11, 0x00],
    ],
    /msix at 0xfc has 12 bytes, 4 are/,
  ],
  ['a length too small', [[0x40, 0x09, 0x00, 0x02]], /vendor at 0x40 says it has 2 bytes of 3/],
])('%s is told, and what is before it decoded', (_, writes, message) => {
  const { capabilities, problems } = configSpace(256, ...writes);
  expect(capabilities.length).toBeGreaterThan(0);
  expect(problems).toMatchObject([{ message: expect.stringMatching(message) }]);
});

test('a loop of extended capabilities is told', () => {
  const { extendedCapabilities, problems } = configSpace(4096, [0x100, 0x0e, 0x00, 0x01, 0x10]);
  expect(extendedCapabilities).toHaveLength(1);
  expect(problems).toMatchObject([{ offset: 0x100, message: expect.stringMatching(/loop/) }]);
});

test('who may read no more than the header learns that there is more', () => {
  const { size, capabilities, problems } = configSpace(64);
  expect({ size, capabilities }).toEqual({ size: 64, capabilities: [] });
  expect(problems).toMatchObject([{ message: expect.stringMatching(/outside of the 64 bytes/) }]);
});

test('less than a header is an error', () => {
  expect(() => decodeConfigSpace(new Uint8Array(63))).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }),
  );
});

describe('whatever the bytes', () => {
  /** Pointers that stay near each other make lists, loops and overlaps likely. */
  const hostile = fc
    .tuple(
      fc.constantFrom(64, 65, 255, 256, 257, 300, 4095, 4096),
      fc.infiniteStream(fc.oneof(fc.nat(255), fc.constantFrom(0x40, 0x44, 0x10, 0xff, 0x05, 0x09))),
    )
    .map(([size, stream]) => Uint8Array.from({ length: size }, () => stream.next().value));

  test('decoding ends, stays inside, and gives what JSON can hold', () => {
    fc.assert(
      fc.property(hostile, (bytes) => {
        const config = decodeConfigSpace(bytes);
        expect(JSON.parse(JSON.stringify(config))).toEqual(config);
        for (const cap of [...config.capabilities, ...config.extendedCapabilities]) {
          expect(cap.offset + cap.length).toBeLessThanOrEqual(bytes.length);
          expect(cap.raw).toHaveLength(cap.length * 2);
        }
        expect(config.capabilities.length).toBeLessThanOrEqual(48);
        expect(config.extendedCapabilities.length).toBeLessThanOrEqual(960);
      }),
      { numRuns: 300 },
    );
  });

  test('every decoder takes every content', () => {
    const extendedIds = Array.from({ length: 0x40 }, (_, id) => id);
    fc.assert(
      fc.property(
        fc.constantFrom(...extendedIds),
        fc.nat(0x20),
        fc.uint8Array({ minLength: 80, maxLength: 80 }),
        (extendedId, id, content) => {
          const config = configSpace(
            4096,
            [0x40, id, 0, ...content],
            [0x100, extendedId, 0, 0x01, 0, ...content],
          );
          expect(config.capabilities).toHaveLength(1);
          expect(config.extendedCapabilities).toHaveLength(1);
        },
      ),
      { numRuns: 3000 },
    );
  });
});
