import {
  assertArc,
  type MigrationState,
  nextStates,
  stateName,
  stateNumber,
} from '../../src/device/migration/states';

const all = { p2p: true, preCopy: true };
const least = { p2p: false, preCopy: false };

test('a device with nothing optional has four states besides error', () => {
  expect(nextStates('running', least)).toEqual(['stop', 'stop-copy', 'resuming']);
  expect(nextStates('stop-copy', least)).toEqual(['stop', 'running', 'resuming']);
});

test('pre-copy and p2p states take the capabilities of their names', () => {
  expect(nextStates('running', { p2p: true, preCopy: false })).toEqual([
    'stop',
    'stop-copy',
    'resuming',
    'running-p2p',
  ]);
  expect(nextStates('running', { p2p: false, preCopy: true })).toEqual([
    'stop',
    'stop-copy',
    'resuming',
    'pre-copy',
  ]);
  expect(nextStates('running', all)).toHaveLength(6);
});

test('nothing leads from stop-copy to pre-copy, nor out of error', () => {
  expect(nextStates('stop-copy', all)).toEqual(['stop', 'running', 'resuming', 'running-p2p']);
  expect(nextStates('error', all)).toEqual([]);
  expect(() => assertArc('device', 'error', 'error', all)).toThrow(
    expect.objectContaining({
      code: 'ERR_VFIO_MIGRATION_STATE',
      hint: expect.stringContaining('reset()'),
    }),
  );
  expect(() => assertArc('device', 'stop-copy', 'pre-copy', all)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('stop, running, resuming') }),
  );
  expect(() => assertArc('device', 'stop', 'stop', least)).not.toThrow();
});

test('names are those of the numbers; other numbers are none', () => {
  for (let number = 0; number < 8; number++) {
    expect(stateNumber(stateName(number))).toBe(number);
  }
  expect(stateName(2)).toBe('running' satisfies MigrationState);
  expect(() => stateName(8)).toThrow(expect.objectContaining({ code: 'ERR_VFIO_MALFORMED' }));
});
