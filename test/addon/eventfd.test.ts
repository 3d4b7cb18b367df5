import { native } from '../../src/native';
import { errno, openFiles, runChild, until } from './support';

test('the listener gets the count, which is zero again by then', async () => {
  const counts: number[] = [];
  const fd = native.eventfdOpen((count) => counts.push(count, native.eventfdRead(fd)));
  expect(openFiles().get(fd)).toMatch(/eventfd/);
  expect(native.eventfdWrite(fd, 1)).toBe(0);
  await until(() => counts.length === 2);
  native.eventfdWrite(fd, 2);
  native.eventfdWrite(fd, 40);
  await until(() => counts.length === 4);
  expect(counts).toEqual([1, 0, 42, 0]);
  expect(native.eventfdClose(fd)).toBe(0);
  expect(openFiles().has(fd)).toBe(false);
});

test('what a listener has promised runs right after it, before the next one', async () => {
  const order: string[] = [];
  const listener = () => {
    Promise.resolve().then(() => order.push('promise'));
    process.nextTick(() => order.push('tick'));
    order.push('listener');
  };
  const fds = [native.eventfdOpen(listener), native.eventfdOpen(listener)];
  for (const fd of fds) native.eventfdWrite(fd, 1);
  await until(() => order.length === 6);
  expect(order).toEqual(['listener', 'tick', 'promise', 'listener', 'tick', 'promise']);
  for (const fd of fds) native.eventfdClose(fd);
});

test('an eventfd that nobody watches is read without waiting', () => {
  const fd = native.eventfdCreate();
  expect(native.eventfdRead(fd)).toBe(0);
  native.eventfdWrite(fd, 3);
  native.eventfdWrite(fd, 0);
  native.eventfdWrite(fd, 4);
  expect(native.eventfdRead(fd)).toBe(7);
  expect(native.eventfdRead(fd)).toBe(0);
  expect(native.eventfdClose(fd)).toBe(0);
  expect(native.eventfdRead(fd)).toBe(-errno.EBADF);
});

test('a full counter is -EAGAIN, not a wait', () => {
  const fd = native.eventfdCreate();
  const most = Number.MAX_SAFE_INTEGER;
  let error = 0;
  for (let i = 0; i < 2 ** 12 && error === 0; i++) error = native.eventfdWrite(fd, most);
  expect(error).toBe(-errno.EAGAIN);
  expect(native.eventfdRead(fd)).toBeGreaterThan(2 ** 62);
  native.eventfdClose(fd);
});

test('many eventfds are told apart', async () => {
  const seen: number[] = [];
  const fds = Array.from({ length: 64 }, (_, i) => native.eventfdOpen(() => seen.push(i)));
  for (const fd of fds) native.eventfdWrite(fd, 1);
  await until(() => seen.length === fds.length);
  expect([...seen].sort((a, b) => a - b)).toEqual(fds.map((_, i) => i));
  for (const fd of fds) native.eventfdClose(fd);
});

test('after close the listener is not called, whatever is still pending', async () => {
  let calls = 0;
  const fd = native.eventfdOpen(() => calls++);
  native.eventfdWrite(fd, 1);
  native.eventfdClose(fd);
  await new Promise((done) => setTimeout(done, 20));
  expect(calls).toBe(0);
});

test('a listener may close its own eventfd, and those of others', async () => {
  let calls = 0;
  const closeAll = () => {
    calls++;
    for (const fd of fds) expect(native.eventfdClose(fd)).toBe(0);
  };
  const fds = [native.eventfdOpen(closeAll), native.eventfdOpen(closeAll)];
  for (const fd of fds) native.eventfdWrite(fd, 1);
  await until(() => calls > 0);
  await new Promise((done) => setTimeout(done, 20));
  expect(calls).toBe(1);
});

test('close is idempotent, and refuses what is no eventfd', () => {
  const fd = native.eventfdOpen(() => {});
  expect(native.eventfdClose(fd)).toBe(0);
  expect(native.eventfdClose(fd)).toBe(0);
  const file = native.open('/dev/null', 0);
  expect(native.eventfdClose(file)).toBe(-errno.EBADF);
  expect(native.eventfdWrite(file, 1)).toBe(-errno.EBADF);
  expect(native.eventfdRead(file)).toBe(-errno.EBADF);
  expect(native.eventfdRef(file)).toBe(-errno.EBADF);
  native.close(file);
});

test('close, as of any descriptor, stops the watch as well', async () => {
  let calls = 0;
  const fd = native.eventfdOpen(() => calls++);
  native.eventfdWrite(fd, 1);
  expect(native.close(fd)).toBe(0);
  const next = native.eventfdOpen(() => {});
  expect(next).toBe(fd);
  await new Promise((done) => setTimeout(done, 20));
  expect(calls).toBe(0);
  native.eventfdClose(next);
});

test('arguments are checked', () => {
  expect(native.eventfdOpen({} as () => void)).toBe(-errno.EINVAL);
  const fd = native.eventfdCreate();
  for (const count of [-1, 0.5, NaN, 1n, undefined]) {
    expect(native.eventfdWrite(fd, count as number)).toBe(-errno.EINVAL);
  }
  expect(native.eventfdRef(fd)).toBe(-errno.EBADF); // not watched
  native.eventfdClose(fd);
});

test('a watch keeps the process alive, until it is unreferenced', () => {
  const { stdout, status } = runChild('eventfd-child.cjs', ['unref']);
  expect([status, stdout.trim()]).toEqual([0, 'alive until unref']);
});

test('what a listener throws is an uncaught exception', () => {
  const caught = runChild('eventfd-child.cjs', ['throw', 'caught']);
  expect([caught.status, caught.stdout.trim()]).toEqual([0, 'uncaughtException: from listener']);
  const fatal = runChild('eventfd-child.cjs', ['throw']);
  expect(fatal.status).toBe(1);
  expect(fatal.stderr).toMatch(/Error: from listener/);
});

test('a process exits with live watches, ranges and views', () => {
  for (const action of ['exit', 'exit-in-listener', 'release-at-exit']) {
    const { status, signal, stderr } = runChild('eventfd-child.cjs', [action]);
    expect([action, status, signal]).toEqual([action, 7, null]);
    expect(stderr).not.toMatch(/Sanitizer/);
  }
});
