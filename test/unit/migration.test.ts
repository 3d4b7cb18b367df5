/** Streams of migration on a device that is made up: what a driver does wrong, and what comes at the wrong moment. */
import { constants } from 'node:os';
import { Readable, Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { finished, pipeline } from 'node:stream/promises';
import { Migration } from '../../src/device/migration/migration';
import { closedError } from '../../src/errors';
import * as abi from '../../src/ioctl/abi/migration-constants';
import { bootFakeMigration, type FakeMigration } from './fake-migration';

jest.mock('../../src/native', () => require('./fake-migration'));

let fake: FakeMigration;
let closed: boolean;

/** As a device makes it: its descriptor, as long as it is open. */
function migrationOf(device: FakeMigration, isolated = true): Migration {
  closed = false;
  return new Migration(
    'mdev',
    () => {
      if (closed) throw closedError('mdev');
      return device.fd;
    },
    device.reset,
    () => isolated,
  );
}

const boot = (flags?: number) => {
  fake = bootFakeMigration(flags);
  return migrationOf(fake);
};

const code = (expected: string) => expect.objectContaining({ name: 'VfioError', code: expected });
const { EINVAL, EFAULT, EIO } = constants.errno;
const RUNNING = abi.VFIO_DEVICE_STATE_RUNNING;
const STOP = abi.VFIO_DEVICE_STATE_STOP;
const STOP_COPY = abi.VFIO_DEVICE_STATE_STOP_COPY;
const PRE_COPY = abi.VFIO_DEVICE_STATE_PRE_COPY;
const RESUMING = abi.VFIO_DEVICE_STATE_RESUMING;

afterEach(() => {
  expect(fake.left).toBe(0);
  fake.remove();
});

/** Everything that can happen without anybody's doing has happened. */
const idle = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setTimeout(resolve, 1));
};

test('capabilities, data size, and a device that has none', async () => {
  expect(boot().capabilities).toEqual({ p2p: true, preCopy: true });
  fake.remove();
  const stopCopyOnly = boot(abi.VFIO_MIGRATION_STOP_COPY);
  expect(stopCopyOnly.capabilities).toEqual({ p2p: false, preCopy: false });
  expect(await stopCopyOnly.dataSize()).toBe(11);
  fake.remove();
  expect(() => boot(0)).toThrow(code('ERR_VFIO_UNSUPPORTED'));
});

test('an arc that does not exist never reaches the kernel', async () => {
  const migration = boot();
  const data = await migration.setState('stop-copy');
  await expect(migration.setState('pre-copy')).rejects.toThrow(code('ERR_VFIO_MIGRATION_STATE'));
  expect(fake.asked).toEqual([STOP_COPY]);
  await data!.close();
});

describe('saveState', () => {
  test('pre-copy, then the rest through the same descriptor; the device is stopped', async () => {
    const migration = boot();
    const progress: number[] = [];
    const saved = migration.saveState({ onProgress: (bytes) => progress.push(bytes) });
    expect(await buffer(saved)).toEqual(fake.whole);
    await finished(saved).catch(() => {});
    await idle();
    expect([progress, fake.asked]).toEqual([
      [6, 11],
      [PRE_COPY, STOP_COPY, STOP],
    ]);
  });

  test('a device without pre-copy is stopped first', async () => {
    const migration = boot(abi.VFIO_MIGRATION_STOP_COPY);
    expect(await buffer(migration.saveState())).toEqual(fake.whole);
    await idle();
    expect(fake.asked).toEqual([STOP_COPY, STOP]);
  });

  test('a device whose state is being given already is left to whoever takes it', async () => {
    const migration = boot();
    const data = await migration.setState('pre-copy');
    await expect(buffer(migration.saveState())).rejects.toThrow(code('ERR_VFIO_MIGRATION_STATE'));
    expect(migration.state).toBe('pre-copy');
    await data!.close();
  });

  test('a device that was stopped by its user is not set running for pre-copy', async () => {
    const migration = boot();
    await migration.setState('stop');
    expect(await buffer(migration.saveState())).toEqual(fake.whole);
    await idle();
    expect(fake.asked).toEqual([STOP, STOP_COPY, STOP]);
  });

  test('destroyed while it is on the way to stop-copy: it runs again, after that', async () => {
    const migration = boot();
    let destroyed = false;
    const saved = migration.saveState();
    fake.hold = async (state) => {
      if (state !== STOP_COPY) return;
      saved.destroy(new Error('enough'));
      destroyed = true;
      await idle();
    };
    saved.resume();
    await expect(finished(saved)).rejects.toThrow('enough');
    await idle();
    expect(destroyed).toBe(true);
    expect(fake.asked).toEqual([PRE_COPY, STOP_COPY, RUNNING]);
    expect(migration.state).toBe('running');
  });

  test('the driver fails half way to stop-copy: the error is told, and it runs again', async () => {
    const migration = boot(abi.VFIO_MIGRATION_STOP_COPY);
    fake.failures.set(STOP_COPY, { errno: EIO, reached: STOP });
    await expect(buffer(migration.saveState())).rejects.toThrow(code('EIO'));
    await idle();
    expect(migration.state).toBe('running');
  });

  test('an aborted signal: it runs again', async () => {
    const migration = boot();
    const controller = new AbortController();
    const saved = migration.saveState({ signal: controller.signal });
    saved.once('data', () => controller.abort(new Error('no more')));
    await expect(finished(saved)).rejects.toThrow();
    await idle();
    expect(migration.state).toBe('running');
  });

  test('destroyed with everything read from the device, but not taken: it runs again', async () => {
    const migration = boot();
    const progress = jest.fn();
    const saved = migration.saveState({ onProgress: progress });
    const never = new Writable({ highWaterMark: 1, write: () => {} });
    const saving = pipeline(saved, never);
    await idle();
    expect(progress).toHaveBeenLastCalledWith(fake.whole.length);
    never.destroy(new Error('cable'));
    await expect(saving).rejects.toThrow('cable');
    await idle();
    expect(migration.state).toBe('running');
  });

  test('what went before is not forgotten: running-p2p stays that', async () => {
    const migration = boot();
    await migration.setState('running-p2p');
    const saved = migration.saveState();
    saved.once('data', () => saved.destroy());
    await new Promise((resolve) => saved.once('close', resolve));
    expect(migration.state).toBe('running-p2p');
  });

  test('what went before is not forgotten: an aborted save of a stopped device leaves it stopped', async () => {
    const migration = boot();
    await migration.setState('stop');
    const saved = migration.saveState();
    saved.once('data', () => saved.destroy());
    await new Promise((resolve) => saved.once('close', resolve));
    expect(migration.state).toBe('stop');
  });
});

describe('loadState', () => {
  test('everything is written before the driver is asked for its verdict', async () => {
    const migration = boot();
    await pipeline(Readable.from([Buffer.from('ab'), Buffer.from('cd')]), migration.loadState());
    expect([fake.received, fake.asked]).toEqual(['abcd', [RESUMING, RUNNING]]);
  });

  test.each([
    ['EINVAL', EINVAL],
    ['EFAULT', EFAULT],
  ])('the driver says %s: a hint, and the device was reset', async (name, errno) => {
    const migration = boot();
    fake.failures.set(RUNNING, { errno, reached: RESUMING });
    const loading = pipeline(Readable.from([Buffer.from('bad')]), migration.loadState());
    await expect(loading).rejects.toThrow(
      expect.objectContaining({ code: name, hint: expect.stringContaining('recover()') }),
    );
    expect(migration.state).toBe('running');
  });

  test('the driver fails half way to resuming: the device was reset', async () => {
    const migration = boot();
    fake.failures.set(RESUMING, { errno: EIO, reached: STOP });
    const loading = pipeline(Readable.from([Buffer.from('x')]), migration.loadState());
    await expect(loading).rejects.toThrow(code('EIO'));
    await idle();
    expect(migration.state).toBe('running');
  });

  test('without an IOMMU it is refused before the kernel is asked; saving is not', async () => {
    fake = bootFakeMigration();
    const migration = migrationOf(fake, false);
    const loading = pipeline(Readable.from([Buffer.from('x')]), migration.loadState());
    await expect(loading).rejects.toThrow(code('ERR_VFIO_UNSUPPORTED'));
    expect([fake.asked, migration.state]).toEqual([[], 'running']);
    expect(await buffer(migration.saveState())).toEqual(fake.whole);
    await idle();
  });

  test('destroyed while the driver takes its time over the verdict: the reset comes last', async () => {
    const migration = boot();
    const loading = migration.loadState({ finalState: 'stop' });
    fake.hold = async (state) => {
      if (state !== STOP) return;
      loading.destroy(new Error('enough'));
      await idle();
    };
    loading.end(Buffer.from('x'));
    await expect(finished(loading)).rejects.toThrow('enough');
    await idle();
    expect(migration.state).toBe('running');
  });
});

describe('moveTo', () => {
  let other: FakeMigration;
  let source: Migration;
  let target: Migration;

  beforeEach(() => {
    source = boot();
    other = bootFakeMigration();
    target = migrationOf(other);
  });
  afterEach(() => {
    expect(other.left).toBe(0);
    other.remove();
  });

  const states = () => [source.state, target.state];

  test('the source is stopped and the target runs, by the time it resolves', async () => {
    const progress = jest.fn();
    await source.moveTo(target, { onProgress: progress });
    expect(states()).toEqual(['stop', 'running']);
    expect(other.received).toBe(fake.whole.toString());
    expect(progress).toHaveBeenLastCalledWith(fake.whole.length);
    await source.moveTo(target, { from: 'stop', finalState: 'stop' });
    expect(states()).toEqual(['stop', 'stop']);
  });

  test('the target refuses what it was given, all of it: the source runs again', async () => {
    await source.setState('running-p2p');
    other.failures.set(RUNNING, { errno: EINVAL, reached: RESUMING });
    // The source stopped as the last byte went.
    other.hold = async (state) => {
      if (state !== RUNNING) return;
      await idle();
      expect(source.state).toBe('stop');
    };
    await expect(source.moveTo(target)).rejects.toThrow(code('EINVAL'));
    expect(states()).toEqual(['running-p2p', 'running']);
  });

  test('an abort while the target takes its time over the verdict: it is reset, the source runs', async () => {
    const controller = new AbortController();
    other.hold = async (state) => {
      if (state !== STOP) return;
      controller.abort(new Error('enough'));
      await idle();
    };
    const moving = source.moveTo(target, { signal: controller.signal, finalState: 'stop' });
    await expect(moving).rejects.toThrow();
    expect(states()).toEqual(['running', 'running']);
  });

  test('the source fails to stop once the target runs: it is not set running again', async () => {
    fake.failures.set(STOP, { errno: EIO, reached: STOP_COPY });
    await expect(source.moveTo(target)).rejects.toThrow(code('EIO'));
    expect(states()).toEqual(['stop-copy', 'running']);
  });

  test('neither moves nor goes back: both errors', async () => {
    other.failures.set(RUNNING, { errno: EFAULT, reached: RESUMING });
    fake.failures.set(RUNNING, { errno: EIO, reached: STOP });
    await expect(source.moveTo(target)).rejects.toMatchObject({
      message: expect.stringContaining('not running again'),
      errors: [{ code: 'EFAULT' }, { code: 'EIO' }],
    });
  });
});

describe('an abandoned stream', () => {
  const streams = [
    ['saveState', (migration: Migration) => migration.saveState()],
    ['loadState', (migration: Migration) => migration.loadState()],
  ] as const;

  test.each(streams)('%s, destroyed before its device is closed, says nothing', async (_, open) => {
    const migration = boot();
    const stream = open(migration);
    const emitted = jest.spyOn(stream, 'emit');
    stream.destroy();
    closed = true;
    await migration.close();
    await idle();
    expect(stream.closed).toBe(true);
    expect(emitted).not.toHaveBeenCalledWith('error', expect.anything());
  });

  test.each(streams)(
    '%s, never used before its device is closed, says nothing',
    async (_, open) => {
      const migration = boot();
      const stream = open(migration);
      const emitted = jest.spyOn(stream, 'emit');
      closed = true;
      await migration.close();
      await idle();
      expect(stream.destroyed).toBe(true);
      expect(emitted).not.toHaveBeenCalledWith('error', expect.anything());
    },
  );

  test.each(streams)('%s, destroyed after its device was closed, says nothing', async (_, open) => {
    const migration = boot();
    const stream = open(migration);
    const emitted = jest.spyOn(stream, 'emit');
    await idle();
    expect(migration.state).not.toBe('running');
    closed = true;
    await migration.close();
    stream.destroy();
    await idle();
    expect(emitted).not.toHaveBeenCalledWith('error', expect.anything());
  });

  test.each(streams)('%s tells whoever listens that its device was closed', async (_, open) => {
    const stream = open(boot());
    closed = true;
    const ended = finished(stream);
    await expect(ended).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  });

  test('whose device cannot be put back is a warning', async () => {
    const warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const migration = boot();
    const saved = migration.saveState();
    await idle();
    fake.failures.set(RUNNING, { errno: EIO, reached: STOP });
    saved.destroy();
    await idle();
    expect(warnings.mock.calls).toEqual([[code('EIO')]]);
    warnings.mockRestore();
  });
});

describe('what onProgress throws', () => {
  test.each([new Error('mine'), undefined, null, 'text'])(
    'ends loading, and the device is reset: %p',
    async (thrown) => {
      const migration = boot();
      const onProgress = () => {
        throw thrown;
      };
      const loading = pipeline(
        Readable.from([Buffer.from('ab'), Buffer.from('cd')]),
        migration.loadState({ onProgress }),
      );
      await expect(loading).rejects.toThrow(thrown instanceof Error ? 'mine' : String(thrown));
      await idle();
      expect([fake.received.length < 4, migration.state]).toEqual([true, 'running']);
    },
  );

  test.each([new Error('mine'), undefined])(
    'ends saving, and the device runs: %p',
    async (thrown) => {
      const migration = boot();
      const onProgress = () => {
        throw thrown;
      };
      await expect(buffer(migration.saveState({ onProgress }))).rejects.toThrow(
        thrown instanceof Error ? 'mine' : String(thrown),
      );
      await idle();
      expect(migration.state).toBe('running');
    },
  );

  test('a value that is no function is refused', () => {
    const migration = boot();
    const options = { onProgress: 5 as never };
    for (const open of [() => migration.saveState(options), () => migration.loadState(options)]) {
      expect(open).toThrow(code('ERR_VFIO_INVALID_ARGUMENT'));
    }
  });
});

test('changes of state that are asked for at once happen one after the other', async () => {
  const migration = boot();
  fake.hold = async (state) => {
    if (state === STOP) await idle();
  };
  await Promise.all([migration.setState('stop'), migration.setState('running')]);
  expect(fake.asked).toEqual([STOP, RUNNING]);
});

test('data is closed once all that uses it is done', async () => {
  const migration = boot();
  const data = (await migration.setState('stop-copy'))!;
  const reads = [Buffer.alloc(4), Buffer.alloc(4), Buffer.alloc(4)].map((into) => data.read(into));
  await data.close();
  expect(await Promise.all(reads)).toEqual([4, 4, 3]);
});

test('after the device was closed, nothing asks the kernel: its descriptor may be another one by now', async () => {
  const migration = boot();
  closed = true;
  expect(() => migration.state).toThrow(code('ERR_VFIO_CLOSED'));
  await expect(migration.setState('stop')).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  await expect(migration.dataSize()).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  await expect(migration.recover()).rejects.toThrow(code('ERR_VFIO_CLOSED'));
  expect(fake.asked).toEqual([]);
});

test('a device that is closed on the way to a state takes the data with it', async () => {
  const migration = boot();
  fake.hold = idle;
  const setting = migration.setState('stop-copy');
  await new Promise(setImmediate);
  await migration.close();
  await setting;
  expect(fake.left).toBe(0);
});

test.each([
  ['absent', false],
  ['off', true],
] as const)(
  'the second version of pre-copy information is used where it is: %s',
  async (has, told) => {
    fake = bootFakeMigration();
    fake.precopyInfo2 = has;
    const migration = migrationOf(fake);
    const data = (await migration.setState('pre-copy'))!;
    expect(data.precopyInfo().reinitialized).toBe(told);
    await data.close();
  },
);
