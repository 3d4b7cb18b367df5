import { eitr, Pf, type PfRegister, Registers, rahPool, Vf } from '../../examples/igb/registers';

function offsets(value: unknown): number[] {
  if (typeof value === 'number') return [value];
  if (typeof value === 'function') {
    return Array.from({ length: 8 }, (_, n) => offsets(value(n))).flat();
  }
  return Object.values(value as object).flatMap(offsets);
}

test.each([
  ['PF', Pf, 128 * 1024],
  ['VF', Vf, 16 * 1024],
] as const)('%s registers are aligned, inside BAR 0, and none is named twice', (_, map, size) => {
  const all = offsets(map);
  for (const offset of all) {
    expect(offset % 4).toBe(0);
    expect(offset).toBeLessThan(size);
  }
  expect(new Set(all).size).toBe(all.length);
});

test('receive addresses 16 to 23 lie in their own block', () => {
  expect(Pf.RAL(15)).toBe(0x5478);
  expect(Pf.RAL(16)).toBe(0x54e0);
  expect(Pf.RAH(23)).toBe(0x551c);
});

test('fields are where the datasheet has them', () => {
  expect(rahPool(0)).toBe(0x0004_0000);
  expect(rahPool(7)).toBe(0x0200_0000);
  expect(eitr(50)).toBe(200);
});

test('values are written as unsigned words', () => {
  const writes: number[] = [];
  const registers = new Registers<PfRegister>({
    read32: () => 0x8000_0001,
    write32: (_, value) => writes.push(value),
  });
  registers.set(Pf.CTRL, 1 << 30);
  registers.clear(Pf.CTRL, 1);
  expect(writes).toEqual([0xc000_0001, 0x8000_0000]);
});
