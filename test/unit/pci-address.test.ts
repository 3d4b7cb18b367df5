import { parseBdf } from '../../src/pci/address';

test.each([
  ['0000:01:00.0', '0000:01:00.0'],
  ['01:00.0', '0000:01:00.0'],
  ['0000:AF:1F.7', '0000:af:1f.7'],
  ['10000:01:00.0', '10000:01:00.0'],
])('%s is %s', (text, bdf) => {
  expect(parseBdf(text)).toBe(bdf);
});

test.each([
  '',
  'eth0',
  '0000:01:00',
  '0000:01:20.0',
  '0000:01:00.8',
  '../../etc',
  '01:00.0 x=1',
  '01:00.0\n',
])('%j is refused', (text) => {
  expect(() => parseBdf(text)).toThrow(
    expect.objectContaining({
      name: 'VfioError',
      code: 'ERR_VFIO_INVALID_BDF',
      hint: expect.stringContaining('0000:01:00.0'),
    }),
  );
});

test.each([undefined, null, 5, 5n, Number.NaN, {}, [], Symbol('x'), () => {}])(
  'what is no string is refused: %p',
  (value) => {
    expect(() => parseBdf(value as unknown as string)).toThrow(
      expect.objectContaining({ name: 'VfioError', code: 'ERR_VFIO_INVALID_BDF' }),
    );
  },
);
