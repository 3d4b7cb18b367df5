import {
  formatMac,
  isUnicast,
  macFromWords,
  macHigh,
  macLow,
  parseMac,
  randomMac,
  vfMac,
} from '../../examples/igb/mac';

test('text, words and bytes', () => {
  const mac = parseMac('52:54:00:Ab:cd:ef')!;
  expect(formatMac(mac)).toBe('52:54:00:ab:cd:ef');
  expect(macLow(mac)).toBe(0xab005452);
  expect(macHigh(mac)).toBe(0xefcd);
  expect(macFromWords(macLow(mac), macHigh(mac) | 0x8000_0000)).toEqual(mac);
});

test.each(['', '52:54:00:ab:cd', '52:54:00:ab:cd:ef:01', '52-54-00-ab-cd-ef', 'g2:54:00:ab:cd:ef'])(
  '%j is not an address',
  (text) => {
    expect(parseMac(text)).toBeUndefined();
  },
);

test('VFs have addresses of their own, stable and locally administered', () => {
  const pf = parseMac('52:54:00:12:34:56')!;
  const macs = Array.from({ length: 7 }, (_, vf) => formatMac(vfMac(pf, vf)));
  expect(new Set(macs).size).toBe(7);
  expect(formatMac(vfMac(pf, 3))).toBe(macs[3]);
  for (let vf = 0; vf < 7; vf++) expect(vfMac(pf, vf)[0]! & 3).toBe(2);
});

test('unicast is neither group nor zero', () => {
  expect(isUnicast(parseMac('02:00:00:00:00:01')!)).toBe(true);
  expect(isUnicast(parseMac('01:00:5e:00:00:01')!)).toBe(false);
  expect(isUnicast(new Uint8Array(6))).toBe(false);
  expect(isUnicast(randomMac())).toBe(true);
});
