import { defineRegisters, Registers } from '../../src/device/registers';

const MAP = defineRegisters({
  readOnly: { STATUS: 0x08 },
  readWrite: { CTRL: 0x00 },
  writeOneToClear: { CAUSE: 0x0c },
  readToClear: { COUNT: 0x10 },
});

function region() {
  const log: Array<[string, number, number?]> = [];
  return {
    log,
    read32: (offset: number) => {
      log.push(['read', offset]);
      return 0xff;
    },
    write32: (offset: number, value: number) => void log.push(['write', offset, value]),
  };
}

test('a name is its offset', () => {
  expect(MAP).toEqual({ STATUS: 8, CTRL: 0, CAUSE: 12, COUNT: 16 });
  expect(Object.isFrozen(MAP)).toBe(true);
});

test('each call is one access; modify is a read and a write', () => {
  const bar = region();
  const registers = new Registers(bar);
  registers.read(MAP.STATUS);
  registers.take(MAP.COUNT);
  registers.acknowledge(MAP.CAUSE, 4);
  registers.modify(MAP.CTRL, 0x0f, 0x35);
  expect(bar.log).toEqual([
    ['read', 8],
    ['read', 16],
    ['write', 12, 4],
    ['read', 0],
    ['write', 0, 0xf5],
  ]);
});

test('what a register does not allow does not compile', () => {
  const registers = new Registers(region());
  // @ts-expect-error read-only
  registers.write(MAP.STATUS, 1);
  // @ts-expect-error reading it clears it
  registers.read(MAP.COUNT);
  // @ts-expect-error a read, then a write, would clear all bits that are set
  registers.modify(MAP.CAUSE, 1, 1);
  // @ts-expect-error no name
  registers.read(4);
});

test('an offset between registers, or a name twice, is refused', () => {
  expect(() => defineRegisters({ readOnly: { A: 2 } })).toThrow('multiple of 4');
  expect(() => defineRegisters({ readOnly: { A: 0 }, readWrite: { A: 4 } })).toThrow('twice');
});
