import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import { guestEnvironment, planCommand } from '../../src/lab/commands/command-options';
import { UntilToken } from '../../src/lab/commands/until-token';
import { QmpClient } from '../../src/lab/machine/qmp';
import { parseMemory, planLab } from '../../src/lab/options';

const wrong = (message: RegExp) =>
  expect.objectContaining({
    code: 'LAB_ARGUMENT',
    message: expect.stringMatching(message),
    hint: expect.any(String),
  });

describe('planCommand', () => {
  const defaults = { cwd: '/work', env: undefined };

  test('fills in the defaults, the environment by the directory', () => {
    const plan = planCommand(['true'], {}, defaults);
    expect(plan).toMatchObject({ cwd: '/work', timeout: 600, stdin: undefined });
    expect(plan.env.PATH).toMatch(/^\/work\/node_modules\/.bin:/);
    expect(planCommand(['true'], { cwd: '/other' }, defaults).env.PATH).toMatch(/^\/other\//);
    expect(planCommand(['true'], {}, { cwd: '/work', env: { A: '1' } }).env).toEqual({ A: '1' });
  });

  test('0 is no timeout', () => {
    expect(planCommand(['true'], { timeout: 0 }, defaults).timeout).toBeUndefined();
  });

  test.each([
    [[], {}, /no command/],
    [[''], {}, /no command/],
    [['a\0b'], {}, /NUL/],
    [['true'], { timeout: -1 }, /timeout/],
    [['true'], { timeout: Number.NaN }, /timeout/],
    [['true'], { timeout: 1e9 }, /timeout/],
    [['true'], { env: { 'a;b': '1' } }, /a;b/],
    [['true'], { terminal: { columns: -1, rows: 1 } }, /columns/],
  ])('refuses %j %j, and says what to do', (command, options, message) => {
    expect(() => planCommand(command, options, defaults)).toThrow(wrong(message));
  });
});

describe('planLab', () => {
  test('fills in the defaults', () => {
    const plan = planLab({});
    expect(plan).toMatchObject({ kernel: 'stock', cwd: process.cwd(), hide: [] });
    expect(plan.machine).toMatchObject({ memory: '2G', devices: ['igb', 'edu', 'nvme'] });
  });

  test.each([
    [{ memory: 'lots' }, /not a memory size/],
    [{ memory: '16M' }, /not enough/],
    [{ memory: '4G' }, /VFs of the igb/],
    [{ memory: '8192' }, /VFs of the igb/],
    [{ cpus: 0 }, /cpus/],
    [{ cpus: 1.5 }, /cpus/],
    [{ env: { 'a;b': '1' } }, /a;b/],
  ])('refuses %j, and says what to do', (options, message) => {
    expect(() => planLab(options)).toThrow(wrong(message));
  });

  test('takes much memory where there is no igb', () => {
    expect(planLab({ memory: '8G', devices: ['edu'] }).machine.memory).toBe('8G');
  });

  test('makes the out directory, and refuses a file in its place', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vfio-unit-'));
    try {
      const out = join(directory, 'a', 'b');
      expect(planLab({ out }).machine.out).toBe(out);
      expect(existsSync(out)).toBe(true);
      const file = join(directory, 'file');
      writeFileSync(file, '');
      expect(() => planLab({ out: file })).toThrow(wrong(/cannot make the directory/));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

test.each([
  ['2G', 2 ** 31],
  ['512m', 2 ** 29],
  ['512', 2 ** 29],
  ['1.5G', 1.5 * 2 ** 30],
])('parseMemory(%s)', (text, bytes) => {
  expect(parseMemory(text)).toBe(bytes);
});

test('guestEnvironment passes what a command needs and nothing that is secret', () => {
  const environment = {
    PATH: '/opt/node/bin:/usr/bin:/usr/sbin',
    HOME: '/home/u',
    NODE_ENV: 'test',
    VFIO_DEBUG: '1',
    AWS_SECRET_ACCESS_KEY: 'x',
    NPM_TOKEN: 'x',
    LD_PRELOAD: 'x',
  };
  expect(guestEnvironment(environment, '/project')).toEqual({
    PATH: '/project/node_modules/.bin:/opt/node/bin:/usr/bin:/usr/sbin:/sbin',
    HOME: '/home/u',
    NODE_ENV: 'test',
    VFIO_DEBUG: '1',
  });
});

describe('UntilToken', () => {
  const token = '\x01end\x01';

  async function pass(chunks: readonly (string | Buffer)[]): Promise<[Buffer, boolean]> {
    const stream = new UntilToken(token);
    const received: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => received.push(chunk));
    const ended = new Promise((resolve) => stream.on('end', resolve));
    for (const chunk of chunks) stream.write(chunk);
    stream.end();
    await ended;
    return [Buffer.concat(received), stream.complete];
  }

  test.each([
    ['one piece', ['hello\x01end\x01'], 'hello', true],
    ['nothing but the token', [token], '', true],
    ['single bytes', [...'ab\x01en\x01\x01end\x01'], 'ab\x01en\x01', true],
    ['what looks like the token until the end', ['x\x01en'], 'x\x01en', false],
    ['no token', ['x', 'y'], 'xy', false],
    ['bytes after the token', ['x\x01end\x01yy', 'zz'], 'x', true],
  ])('%s', async (_, chunks, expected, complete) => {
    expect(await pass(chunks)).toEqual([Buffer.from(expected), complete]);
  });

  test('bytes that are no text stay as they are', async () => {
    const bytes = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256));
    expect(await pass([bytes.subarray(0, 500), bytes.subarray(500), token])).toEqual([bytes, true]);
  });

  test('holds nothing back that cannot be the token', () => {
    const stream = new UntilToken(token);
    stream.write('prompt> ');
    expect(stream.read()?.toString()).toBe('prompt> ');
    stream.write('\x01e');
    expect(stream.read()).toBeNull();
    stream.write('x');
    expect(stream.read()?.toString()).toBe('\x01ex');
  });
});

describe('QmpClient', () => {
  /** A client and a scripted QEMU that answers each command. */
  function connect(answer: (request: { execute: string; id: number }) => object) {
    const fromQemu = new PassThrough();
    const channel = Duplex.from({
      readable: fromQemu,
      writable: async (requests: AsyncIterable<Buffer>) => {
        for await (const request of requests) {
          const parsed = JSON.parse(request.toString());
          fromQemu.write(`${JSON.stringify({ ...answer(parsed), id: parsed.id })}\n`);
        }
      },
    });
    const client = new QmpClient(channel);
    return { client, fromQemu, channel };
  }

  const greeting = `${JSON.stringify({ QMP: { version: {}, capabilities: [] } })}\n`;

  test('negotiates before the first command, and passes results and events', async () => {
    const seen: string[] = [];
    const { client, fromQemu } = connect(({ execute }) => {
      seen.push(execute);
      return { return: { status: 'running' } };
    });
    const event = new Promise((resolve) => client.once('event', resolve));
    const result = client.execute('query-status');
    fromQemu.write(greeting);
    expect(await result).toEqual({ status: 'running' });
    expect(seen).toEqual(['qmp_capabilities', 'query-status']);
    fromQemu.write('{"event": "SHUTDOWN", "data": {"reason": "guest-panic"}}\n');
    expect(await event).toEqual({ event: 'SHUTDOWN', data: { reason: 'guest-panic' } });
  });

  test('rejects with what QEMU says', async () => {
    const { client, fromQemu } = connect(({ execute }) =>
      execute === 'qmp_capabilities'
        ? { return: {} }
        : { error: { class: 'DeviceNotFound', desc: "Device 'x' not found" } },
    );
    fromQemu.write(greeting);
    await expect(client.execute('device_del', { id: 'x' })).rejects.toMatchObject({
      name: 'QmpError',
      class: 'DeviceNotFound',
      message: "device_del: Device 'x' not found",
    });
  });

  test('rejects what is pending when QEMU ends, and whatever comes later', async () => {
    const { client, channel } = connect(() => ({ return: {} }));
    const pending = client.execute('query-status');
    channel.destroy();
    await expect(pending).rejects.toThrow(/QEMU ended/);
    await expect(client.execute('quit')).rejects.toThrow(/QEMU ended/);
  });
});
