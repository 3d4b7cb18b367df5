import { constants } from 'node:os';
import { errnoName } from '../../src/errors';

test.each(['EAGAIN', 'EOPNOTSUPP', 'EINVAL'] as const)(
  '%s has the name that the kernel gives it',
  (name) => {
    expect(errnoName(constants.errno[name])).toBe(name);
  },
);

test('a number that Node has no name for', () => {
  expect(errnoName(77)).toBe('EBADFD');
  expect(errnoName(4242)).toBe('E4242');
});
