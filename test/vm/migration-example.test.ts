/**
 * The migration example: in one process, and from one to another.
 *
 * @kernel lab
 */
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { createMdev, mdevTypes, removeMdev } from 'vfio';

const programs = join(__dirname, '../../build/examples/migration');
const run = async (name: string, ...args: string[]) =>
  (await promisify(execFile)(process.execPath, [join(programs, `${name}.js`), ...args])).stdout;

describe('examples/migration', () => {
  test('a conversation moves to another device', async () => {
    const output = await run('move');
    expect(output.trimEnd().split('\n').slice(-2)).toEqual([
      'source: stop, target: running',
      'heard on the other side: ping pong',
    ]);
    expect(mdevTypes().find(({ id }) => id === 'mtty-1')?.available).toBeGreaterThan(1);
  });

  test('and to another process', async () => {
    const type = { parent: 'mtty', id: 'mtty-1' };
    const [here, there] = [await createMdev(type), await createMdev(type)];
    const socket = `/tmp/vfio-migration-${process.pid}`;
    const receiver = spawn(process.execPath, [join(programs, 'receive.js'), there, socket], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const received = text(receiver.stdout);
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await run('send', here, socket)).toBe('sent: stop\n');
    expect(await received).toBe('received: ping pong\n');
    await Promise.all([here, there].map((uuid) => removeMdev(uuid)));
  });
});
