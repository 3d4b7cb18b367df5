/**
 * The edu example drives the real device.
 *
 * @kernel stock
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { type Binding, bindDriver } from 'vfio';
import { findDevice } from './lab-devices';

const PROGRAM = join(__dirname, '../../build/examples/edu/edu.js');

const EDU = findDevice('edu').bdf;
let binding: Binding | undefined;
afterEach(() => binding?.restore());

test('registers, DMA and MSI', async () => {
  binding = await bindDriver(EDU);
  const output = execFileSync(process.execPath, [PROGRAM, EDU], { encoding: 'utf8' });
  expect(output).toContain('12! = 479001600');
  expect(output.trimEnd().split('\n').at(-1)).toBe('edu: ok');
});

test('a device that is not bound is an error with a hint; a missing argument is usage', () => {
  const run = (...args: string[]) => {
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
      encoding: 'utf8',
    });
    return { status, stderr };
  };
  expect(run(EDU)).toEqual({ status: 1, stderr: expect.stringContaining('hint:') });
  expect(run()).toEqual({ status: 2, stderr: expect.stringContaining('Usage:') });
});
