import fc from 'fast-check';

jest.mock('../../src/native', () => ({ native: {} }));

import { vfio_info_cap_header, vfio_iova_range } from '../../src/ioctl/abi/structs';
import { parseCapabilities, trailing } from '../../src/ioctl/capabilities';

function chain(
  ...headers: Array<{ at: number; id: number; next: number }>
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(128);
  for (const { at, id, next } of headers) {
    const header = vfio_info_cap_header.view(bytes.subarray(at));
    header.id = id;
    header.version = 1;
    header.next = next;
  }
  return bytes;
}

test('a chain is followed to its end', () => {
  const bytes = chain({ at: 24, id: 1, next: 64 }, { at: 64, id: 3, next: 0 });
  expect(parseCapabilities(bytes, 24).map(({ id }) => id)).toEqual([1, 3]);
  expect(parseCapabilities(bytes, 0)).toEqual([]);
});

test.each([
  ['a loop', chain({ at: 24, id: 1, next: 64 }, { at: 64, id: 2, next: 24 })],
  ['a capability that follows itself', chain({ at: 24, id: 1, next: 24 })],
  ['an offset behind the end', chain({ at: 24, id: 1, next: 4096 })],
  ['a header cut off', chain({ at: 24, id: 1, next: 124 })],
])('%s is an error, not a hang', (_, bytes) => {
  expect(() => parseCapabilities(bytes, 24)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }),
  );
});

test('an absurd count of elements is an error', () => {
  const [capability] = parseCapabilities(chain({ at: 24, id: 1, next: 0 }), 24);
  expect(trailing(capability!, 16, 5, vfio_iova_range)).toHaveLength(5);
  expect(() => trailing(capability!, 16, 0xffff_ffff, vfio_iova_range)).toThrow(
    expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }),
  );
});

test('whatever the bytes are, parsing ends with capabilities or ERR_VFIO_MALFORMED', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 96 }), fc.nat(100), (bytes, offset) => {
      try {
        expect(parseCapabilities(new Uint8Array(bytes), offset).length).toBeLessThan(97);
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_VFIO_MALFORMED' });
      }
    }),
  );
});
