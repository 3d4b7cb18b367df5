import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, open, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { native } from '../../src/native';
import {
  errno,
  given,
  memoryFile,
  message,
  openFiles,
  startWorker,
  statusFlags,
  until,
} from './support';

// Requests of asm-generic/ioctls.h and linux/nsfs.h that the host's kernel serves.
const TCGETS = 0x5401;
const TIOCGWINSZ = 0x5413;
const FIONREAD = 0x541b;
const FIONBIO = 0x5421;
const FIONCLEX = 0x5450;
const NS_GET_USERNS = 0xb701;

/** An argument of `length` bytes that claims to be `argsz` bytes. */
function struct(length: number, argsz = length): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, argsz, true);
  return bytes;
}

const u32 = (bytes: Uint8Array) => Buffer.from(bytes).readUInt32LE();

let unblock = async () => {};
afterEach(() => unblock());

/** Keeps every thread of the pool busy until `unblock`, at the latest until the test's end. */
function blockThreadPool(): void {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-ioctl-'));
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  const opened = Array.from(
    { length: threads },
    () =>
      new Promise<void>((done, fail) => {
        // Opening the reading end waits for a writer.
        open(fifo, 'r', (error, fd) => {
          if (error) return fail(error);
          closeSync(fd);
          done();
        });
      }),
  );
  unblock = async () => {
    unblock = async () => {};
    const writer = openSync(fifo, constants.O_RDWR);
    await Promise.all(opened);
    closeSync(writer);
    rmSync(directory, { recursive: true });
  };
}

test('ioctlStruct gives the kernel the bytes and takes back what it wrote', () => {
  const fd = memoryFile(5000);
  const bytes = struct(4);
  expect(native.ioctlStruct(fd, FIONREAD, bytes)).toBe(0);
  expect(u32(bytes)).toBe(5000);
  native.close(fd);
});

test('ioctlStruct works on a view into a larger buffer, and on nothing around it', () => {
  const fd = memoryFile(77);
  const around = new Uint8Array(16).fill(0xaa);
  const view = around.subarray(5, 9);
  view.set(struct(4));
  expect(native.ioctlStruct(fd, FIONREAD, view)).toBe(0);
  expect([...around]).toEqual([...Array(5).fill(0xaa), 77, 0, 0, 0, ...Array(7).fill(0xaa)]);
  native.close(fd);
});

test('a kernel that writes more than the struct has does not reach JavaScript memory', () => {
  const pty = native.open('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
  const whole = struct(36);
  expect(native.ioctlStruct(pty, TCGETS, whole)).toBe(0); // struct termios: 36 bytes
  const around = new Uint8Array(64).fill(0xaa);
  const view = around.subarray(8, 12);
  view.set(struct(4));
  expect(native.ioctlStruct(pty, TCGETS, view)).toBe(0);
  expect(view).toEqual(whole.subarray(0, 4));
  expect(around.subarray(12)).toEqual(new Uint8Array(52).fill(0xaa));
  native.close(pty);
});

test('a struct longer than the usual is copied whole', () => {
  const fd = memoryFile(5000);
  const bytes = struct(10_000).fill(7, 4);
  expect(native.ioctlStruct(fd, FIONREAD, bytes)).toBe(0);
  expect(u32(bytes)).toBe(5000);
  expect(bytes.subarray(4).every((byte) => byte === 7)).toBe(true);
  native.close(fd);
});

test('a struct that claims more than it has, or less than its size field, is refused', async () => {
  const fd = memoryFile(5000);
  for (const bytes of [struct(8, 9), struct(8, 3), struct(8, 0), struct(8, 0xffffffff)]) {
    const before = bytes.slice();
    expect(native.ioctlStruct(fd, FIONREAD, bytes)).toBe(-errno.EINVAL);
    expect(await native.ioctlStructAsync(fd, FIONREAD, bytes)).toBe(-errno.EINVAL);
    expect(bytes).toEqual(before);
  }
  expect(native.ioctlStruct(fd, FIONREAD, new Uint8Array([2, 0]))).toBe(-errno.EINVAL);
  expect(native.ioctlStruct(fd, FIONREAD, new Uint8Array(0))).toBe(-errno.EINVAL);
  native.close(fd);
});

test('ioctlInt passes the address of an int', () => {
  const fd = memoryFile(1);
  expect(native.ioctlInt(fd, FIONBIO, 1)).toBe(0);
  expect(statusFlags(fd) & constants.O_NONBLOCK).toBe(constants.O_NONBLOCK);
  expect(native.ioctlInt(fd, FIONBIO, 0)).toBe(0);
  expect(statusFlags(fd) & constants.O_NONBLOCK).toBe(0);
  native.close(fd);
});

test('ioctlValue passes a number that cannot be an address', async () => {
  const fd = memoryFile(1);
  expect(native.ioctlValue(fd, FIONCLEX, 0)).toBe(0);
  expect(statusFlags(fd) & 0o2000000).toBe(0);
  expect(native.ioctlValue(fd, FIONREAD, 0xffff)).toBe(-errno.EFAULT);
  expect(native.ioctlValue(fd, FIONREAD, 0x10000)).toBe(-errno.EINVAL);
  expect(await native.ioctlValueAsync(fd, FIONREAD, 0xffff)).toBe(-errno.EFAULT);
  expect(await native.ioctlValueAsync(fd, FIONREAD, 0x10000)).toBe(-errno.EINVAL);
  native.close(fd);
});

test('an ioctl answers with the errno', async () => {
  const fd = memoryFile(1);
  expect(native.ioctlStruct(fd, TIOCGWINSZ, struct(8))).toBe(-errno.ENOTTY);
  expect(native.ioctlString(fd, TIOCGWINSZ, 'text')).toBe(-errno.ENOTTY);
  expect(await native.ioctlStructAsync(fd, TIOCGWINSZ, struct(8))).toBe(-errno.ENOTTY);
  expect(await native.ioctlStringFdAsync(fd, TIOCGWINSZ, 'text')).toBe(-errno.ENOTTY);
  native.close(fd);
  expect(await native.ioctlStructAsync(fd, FIONREAD, struct(8))).toBe(-errno.EBADF);
});

test('ioctlStructAsync copies out on completion', async () => {
  const fd = memoryFile(5000);
  const bytes = struct(4);
  const result = native.ioctlStructAsync(fd, FIONREAD, bytes);
  expect(u32(bytes)).toBe(4);
  expect(await result).toBe(0);
  expect(u32(bytes)).toBe(5000);
  native.close(fd);
});

test('ioctlStructAsync survives that its array is detached meanwhile', async () => {
  const fd = memoryFile(5000);
  const memory = new ArrayBuffer(4);
  const bytes = new Uint8Array(memory);
  bytes.set(struct(4));
  const result = native.ioctlStructAsync(fd, FIONREAD, bytes);
  const moved = structuredClone(bytes, { transfer: [memory] });
  expect(await result).toBe(0);
  expect(u32(moved)).toBe(4);
  native.close(fd);
});

test('ioctlStructAsync survives that its array shrinks meanwhile', async () => {
  const fd = memoryFile(5000);
  const Resizable = ArrayBuffer as unknown as {
    new (length: number, options: object): ArrayBuffer & { resize(length: number): void };
  };
  const memory = new Resizable(4, { maxByteLength: 8 });
  const bytes = new Uint8Array(memory);
  bytes.set(struct(4));
  const result = native.ioctlStructAsync(fd, FIONREAD, bytes);
  memory.resize(1);
  expect(await result).toBe(0);
  memory.resize(4);
  expect([...bytes]).toEqual([4, 0, 0, 0]);
  native.close(fd);
});

test('close during an asynchronous ioctl takes effect when that returns', async () => {
  blockThreadPool();
  const fd = memoryFile(5000);
  const bytes = struct(4);
  const result = native.ioctlStructAsync(fd, FIONREAD, bytes);
  const at = given(native.fdRegisters(fd, 0, 8));
  expect(native.close(fd)).toBe(0);
  expect(native.ioctlStruct(fd, FIONREAD, struct(4))).toBe(-errno.EBADF);
  expect(at.read32(0)).toBe(-errno.EBADF);
  expect(openFiles().has(fd)).toBe(true);
  await unblock();
  expect(await result).toBe(0);
  expect(u32(bytes)).toBe(5000);
  expect(openFiles().has(fd)).toBe(false);
});

test('ioctlStringFdAsync gives a descriptor that the environment owns', async () => {
  const ns = native.open('/proc/self/ns/net', constants.O_RDONLY);
  const fd = await native.ioctlStringFdAsync(ns, NS_GET_USERNS, 'ignored by this request');
  expect(openFiles().get(fd)).toMatch(/^user:/);
  expect(native.close(fd)).toBe(0);
  expect(native.close(ns)).toBe(0);
});

describe('a descriptor in a struct', () => {
  // FIONCLEX leaves its argument alone: what was in there is as if the kernel had put it.
  const holding = (fd: number) => new Uint8Array(Int32Array.of(12, 0, fd).buffer);
  const raw = () => openSync('/proc/self/ns/uts', constants.O_RDONLY);

  test('is the environment’s, after success', async () => {
    const file = native.open('/proc/self/ns/net', constants.O_RDONLY);
    const [first, second] = [raw(), raw()];
    expect(native.ioctlStruct(file, FIONCLEX, holding(first), 8)).toBe(0);
    expect(await native.ioctlStructAsync(file, FIONCLEX, holding(second), 8)).toBe(0);
    expect([native.close(first), native.close(second)]).toEqual([0, 0]);
    expect([...openFiles().values()].some((name) => /^uts:/.test(name))).toBe(false);
    expect(native.close(file)).toBe(0);
  });

  test('is not after an error, nor if there is none, nor without saying where', async () => {
    const file = native.open('/proc/self/ns/net', constants.O_RDONLY);
    const fd = raw();
    expect(native.ioctlStruct(file, TIOCGWINSZ, holding(fd), 8)).toBe(-errno.ENOTTY);
    expect(await native.ioctlStructAsync(file, TIOCGWINSZ, holding(fd), 8)).toBe(-errno.ENOTTY);
    expect(native.ioctlStruct(file, FIONCLEX, holding(-1), 8)).toBe(0);
    expect(native.ioctlStruct(file, FIONCLEX, holding(fd))).toBe(0);
    expect(native.close(fd)).toBe(-errno.EBADF);
    closeSync(fd);
    expect(native.close(file)).toBe(0);
  });

  test.each([-1, 9, 12, 0.5, 2 ** 40])('cannot be at byte %d of 12', async (at) => {
    const file = native.open('/proc/self/ns/net', constants.O_RDONLY);
    expect(native.ioctlStruct(file, FIONCLEX, holding(0), at)).toBe(-errno.EINVAL);
    expect(await native.ioctlStructAsync(file, FIONCLEX, holding(0), at)).toBe(-errno.EINVAL);
    expect(native.close(file)).toBe(0);
  });
});

test('a prepared ioctl makes the request anew each time, with what the argument was', () => {
  const fd = memoryFile(5000);
  const bytes = struct(4);
  const call = native.ioctlPrepare(fd, FIONREAD, bytes) as () => number;
  expect([call(), call()]).toEqual([0, 0]);
  expect(u32(bytes)).toBe(4);
  native.close(fd);
  expect(call()).toBe(-errno.EBADF);
});

test('a prepared ioctl tells what the kernel says', () => {
  const fd = memoryFile(1);
  const call = native.ioctlPrepare(fd, NS_GET_USERNS, struct(4)) as () => number;
  expect(call()).toBe(-errno.ENOTTY);
  native.close(fd);
});

test('ioctlPrepare refuses what ioctlStruct does', () => {
  const fd = memoryFile(1);
  expect(native.ioctlPrepare(-1, FIONREAD, struct(4))).toBe(-errno.EBADF);
  expect(native.ioctlPrepare(fd, FIONREAD, struct(8, 9))).toBe(-errno.EINVAL);
  expect(native.ioctlPrepare(fd, FIONREAD, new Uint8Array(2))).toBe(-errno.EINVAL);
  expect(native.ioctlPrepare(fd, 1.5, struct(4))).toBe(-errno.EINVAL);
  native.close(fd);
});

test.each(['as a result', 'in a struct'])(
  'a worker that ends during an ioctl that gives a descriptor %s leaves none behind',
  async (how) => {
    const left = () => [...openFiles().values()].filter((name) => /^(user|uts):/.test(name));
    blockThreadPool();
    const worker = startWorker(
      'ioctl-worker.cjs',
      how === 'as a result'
        ? { request: NS_GET_USERNS }
        : { request: FIONCLEX, inStruct: openSync('/proc/self/ns/uts', constants.O_RDONLY) },
    );
    await message(worker);
    const ended = worker.terminate();
    await unblock();
    await ended;
    await until(() => ![...openFiles().values()].some((name) => /^net:/.test(name)));
    expect(left()).toEqual([]);
  },
);
