/**
 * Live migration on the real kernel, with mtty, whose driver walks all states.
 *
 * @kernel lab
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PassThrough, Readable, Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import { createMdev, type Device, type MigrationState, openDevice, removeMdev } from 'vfio';
import { LoadStream } from '../../src/device/migration/load-stream';
import { bound, findDevice, vfioResources } from './lab-devices';
import { hear, openMtty, removeMttys, say } from './mtty';

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });

bound('edu');

test('a device whose driver knows nothing of its state says so', async () => {
  const edu = await openDevice(findDevice('edu').bdf);
  expect(() => edu.migration).toThrow(code('ERR_VFIO_UNSUPPORTED'));
  await edu.close();
});

test('its removal is refused while it is open; forced, it waits, and asks nobody', async () => {
  const uuid = await createMdev({ parent: 'mtty', id: 'mtty-1' });
  const device = await openDevice(uuid);
  expect(device.irqKinds()).toEqual(['intx', 'msi']);
  expect(() => device.on('request', () => {})).toThrow(code('ERR_VFIO_NO_INTERRUPT'));
  await expect(removeMdev(uuid)).rejects.toThrow(code('EBUSY'));
  let removed = false;
  const removing = removeMdev(uuid, { force: true }).then(() => {
    removed = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect([removed, device.closed]).toEqual([false, false]);
  await device.close();
  await removing;
});

const backends = ['group', 'iommufd'] as const;

describe.each(backends)('mtty by %s', (backend) => {
  let source: Device;
  let target: Device;

  beforeEach(async () => {
    [source, target] = await Promise.all([openMtty({ backend }), openMtty({ backend })]);
  });

  afterEach(async () => {
    await Promise.all([source.close(), target.close()]);
    await removeMttys();
  });

  test('it is a serial port', () => {
    say(source, 'hello');
    expect(hear(source)).toBe('hello');
    expect(source.migration.capabilities).toEqual({ p2p: true, preCopy: true });
    expect(source.migration.state).toBe('running');
    expect(source.features()).toEqual([
      { name: 'migration', get: true, set: false },
      { name: 'migrationState', get: true, set: true },
      { name: 'dmaLoggingStart', get: false, set: true },
      { name: 'dmaLoggingStop', get: false, set: true },
      { name: 'dmaLoggingReport', get: true, set: false },
      { name: 'migrationDataSize', get: true, set: false },
      { name: 'migrationPrecopyInfo2', get: false, set: true },
    ]);
  });

  test('its log of DMA is empty, as it does none', async () => {
    const ranges = [
      { iova: 0n, size: 1 << 20 },
      { iova: 1n << 32n, size: 1 << 16 },
    ];
    expect(await source.dmaLogging.start(ranges)).toBe(4096);
    for (const range of ranges) {
      expect([...(await source.dmaLogging.read(range)).ranges()]).toEqual([]);
    }
    await source.dmaLogging.stop();
    await expect(source.dmaLogging.start([ranges[0]!, ranges[0]!])).rejects.toThrow(
      expect.objectContaining({ name: 'VfioError', code: 'EINVAL' }),
    );
  });

  test('a conversation goes on with the other device', async () => {
    say(source, 'ping ');
    const progress: number[] = [];
    await source.migration.moveTo(target.migration, {
      onProgress: (bytes) => progress.push(bytes),
    });
    expect([source.migration.state, target.migration.state]).toEqual(['stop', 'running']);
    expect(progress.length).toBeGreaterThanOrEqual(2);
    say(target, 'pong');
    expect(hear(target)).toBe('ping pong');
    await source.migration.setState('running');
    expect(hear(source)).toBe('ping ');
  });

  test('over a socket, and stopped first', async () => {
    say(source, 'by wire');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const arrived = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const { port } = server.address() as AddressInfo;
    const [sender, receiver] = await Promise.all([connect(port, '127.0.0.1'), arrived]);
    await Promise.all([
      pipeline(source.migration.saveState({ from: 'stop' }), sender),
      pipeline(receiver, target.migration.loadState({ finalState: 'stop' })),
    ]);
    server.close();
    expect(target.migration.state).toBe('stop');
    await target.migration.setState('running');
    expect(hear(target)).toBe('by wire');
  });

  test('every arc that is named legal is taken, and gives data where data begins', async () => {
    const { migration } = source;
    const states: MigrationState[] = [
      ...(['running', 'stop', 'running-p2p', 'pre-copy', 'pre-copy-p2p', 'stop-copy'] as const),
    ];
    const gives: MigrationState[] = ['pre-copy', 'pre-copy-p2p', 'resuming'];
    for (const from of states) {
      await (await migration.setState(from))?.close();
      for (const to of migration.nextStates) {
        const data = await migration.setState(to);
        expect([from, to, migration.state]).toEqual([from, to, to]);
        if (gives.includes(to) && !from.startsWith('pre-copy')) expect(data).toBeDefined();
        await data?.close();
        await migration.recover();
        await (await migration.setState(from))?.close();
      }
      await migration.recover();
      expect(migration.state).toBe('running');
    }
  });

  test('without data, nothing but a reset leads out of resuming', async () => {
    const { migration } = source;
    const data = (await migration.setState('resuming'))!;
    for (const to of migration.nextStates) {
      await expect(migration.setState(to)).rejects.toThrow(
        expect.objectContaining({ code: 'EINVAL', hint: expect.stringContaining('recover()') }),
      );
      expect(migration.state).toBe('resuming');
    }
    await data.close();
    await migration.recover();
    expect(migration.state).toBe('running');
  });

  test('illegal arcs are refused before the kernel is asked', async () => {
    const { migration } = source;
    const data = await migration.setState('stop-copy');
    for (const to of ['pre-copy', 'pre-copy-p2p', 'error'] as const) {
      await expect(migration.setState(to)).rejects.toThrow(code('ERR_VFIO_MIGRATION_STATE'));
    }
    expect(migration.state).toBe('stop-copy');
    await data!.close();
    await migration.setState('running');
  });

  test('pre-copy: how much there is, then reads of 0, then the rest through the same descriptor', async () => {
    const { migration } = source;
    expect(await migration.dataSize()).toBeGreaterThan(0);
    const data = (await migration.setState('pre-copy'))!;
    const { initialBytes, reinitialized } = data.precopyInfo();
    expect([initialBytes, reinitialized]).toEqual([24n, false]);
    const chunk = Buffer.alloc(4096);
    expect(await data.read(chunk)).toBe(24);
    expect(await data.read(chunk)).toBe(0);
    expect(data.precopyInfo().initialBytes).toBe(0n);
    expect(await migration.setState('stop-copy')).toBeUndefined();
    expect(await data.read(chunk)).toBeGreaterThan(0);
    expect(await data.read(chunk)).toBe(0);
    expect(() => data.precopyInfo()).toThrow(code('EINVAL'));
    await migration.setState('stop');
    await expect(data.read(chunk)).rejects.toThrow(expect.objectContaining({ code: 'ENODEV' }));
    await data.close();
    await expect(data.read(chunk)).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  });

  test('broken streams: the target was reset, and runs', async () => {
    const whole = await buffer(source.migration.saveState());
    const spoiled = Buffer.from(whole);
    spoiled.fill(0xff, 0, 8);
    for (const [bytes, expected] of [
      [whole.subarray(0, whole.length - 8), 'EINVAL'],
      [spoiled, 'EFAULT'],
      [Buffer.concat([whole, Buffer.alloc(1 << 20)]), 'ENOMEM'],
    ] as const) {
      const loading = pipeline(Readable.from([bytes]), target.migration.loadState());
      await expect(loading).rejects.toThrow(expect.objectContaining({ code: expected }));
      expect(target.migration.state).toBe('running');
    }
    await pipeline(Readable.from([whole]), target.migration.loadState());
    expect(target.migration.state).toBe('running');
  });

  test.each([
    ['an abort', () => new Transform({ highWaterMark: 1, transform: () => {} })],
    ['a cut way', () => new PassThrough().once('data', cut)],
  ])('%s: both run again, and no descriptor is left', async (_, way) => {
    say(source, 'still here');
    const before = vfioResources();
    const saved = source.migration.saveState();
    const loaded = target.migration.loadState();
    const controller = new AbortController();
    const moving = pipeline(saved, way(), loaded, { signal: controller.signal });
    const refused = expect(moving).rejects.toThrow();
    // By now everything was read from the source, and nobody has taken any of it.
    await new Promise((resolve) => setTimeout(resolve, 200));
    controller.abort(new Error('enough'));
    await refused;
    // Streams are destroyed in the background.
    await Promise.allSettled([finished(saved), finished(loaded)]);
    expect([source.migration.state, target.migration.state]).toEqual(['running', 'running']);
    expect(vfioResources()).toEqual(before);
    expect(hear(source)).toBe('still here');
    await pipeline(source.migration.saveState(), target.migration.loadState());
  });

  test('the target refuses what came spoiled: the source goes on, and can be moved after all', async () => {
    say(source, 'ping ');
    const before = vfioResources();
    jest.spyOn(target.migration, 'loadState').mockImplementationOnce((options) => {
      const loaded = new LoadStream(target.migration, options ?? {});
      const write = loaded._write.bind(loaded);
      loaded._write = (chunk, ...rest) => write(Buffer.from(chunk).fill(0xff, 0, 8), ...rest);
      return loaded;
    });
    await expect(source.migration.moveTo(target.migration)).rejects.toThrow(
      expect.objectContaining({ code: 'EFAULT' }),
    );
    expect([source.migration.state, target.migration.state]).toEqual(['running', 'running']);
    expect(vfioResources()).toEqual(before);
    say(source, 'pong');
    await source.migration.moveTo(target.migration);
    expect(hear(target)).toBe('ping pong');
  });

  test('a device that is closed in the middle takes its data with it', async () => {
    const data = (await source.migration.setState('stop-copy'))!;
    await source.close();
    await expect(data.read(Buffer.alloc(8))).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  });
});

function cut(this: PassThrough): void {
  this.destroy(new Error('cable'));
}
