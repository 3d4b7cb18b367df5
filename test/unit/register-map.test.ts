import {
  fieldValue,
  parseRegisterMap,
  readRegister,
  unnamedRegisters,
} from '../../src/cli/register-map';

test('offsets in decimal or hex; fields by bit, or by highest and lowest bit', () => {
  const map = '{"A": "0x10", "B": {"offset": 20, "bits": 16, "fields": {"LU": 1, "SPEED": "7:6"}}}';
  expect(parseRegisterMap(map)).toEqual([
    { name: 'A', offset: 16, bits: 32, fields: [] },
    {
      ...{ name: 'B', offset: 20, bits: 16 },
      fields: [
        { name: 'LU', high: 1, low: 1 },
        { name: 'SPEED', high: 7, low: 6 },
      ],
    },
  ]);
});

test('each register is read by its own width', () => {
  const source = { size: 4, read8: () => 0x12, read16: () => 0x3412, read32: () => 0xf8563412 };
  const [register] = unnamedRegisters(0, 1);
  const read = (bits: 8 | 16 | 32) => readRegister(source, { ...register!, bits });
  expect([read(8), read(16), read(32)]).toEqual([0x12, 0x3412, 0xf8563412]);
});

test('fields up to the top bit, and as wide as the register', () => {
  const field = (high: number, low: number) => fieldValue(0xf8563412, { name: 'F', high, low });
  expect([field(31, 31), field(31, 28), field(31, 0), field(0, 0)]).toEqual([1, 15, 0xf8563412, 0]);
});

test.each([
  '{',
  '[]',
  '{"A": {}}',
  '{"A": "x"}',
  '{"A": -4}',
  '{"A": {"offset": 2}}',
  '{"A": {"offset": 0, "bits": 64}}',
  '{"A": {"offset": 0, "fields": {"F": 32}}}',
  '{"A": {"offset": 0, "fields": {"F": "1:2"}}}',
  '{"A": {"offset": 0, "fields": "F"}}',
])('refuses the map %s', (text) => {
  expect(() => parseRegisterMap(text)).toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_MALFORMED',
      message: expect.stringMatching(/^register map: /),
    }),
  );
});
