import { runChild } from './support';

test.each(['views', 'accessors', 'released', 'watches', 'ioctls'])(
  'garbage collection of %s in any order leaves nothing behind',
  (what) => {
    const { status, signal, stdout, stderr } = runChild('gc-child.cjs', [what], ['--expose-gc']);
    expect([status, signal, stderr]).toEqual([0, null, '']);
    const { mappings, descriptors, megabytes } = JSON.parse(stdout);
    expect(mappings).toBeLessThan(100);
    expect(descriptors).toBe(0);
    expect(megabytes).toBeLessThan(25);
  },
);
