import { PassThrough, Writable } from 'node:stream';
import { deliver } from '../../src/lab/commands/deliver';
import { UntilToken } from '../../src/lab/commands/until-token';
import { endOfStream } from '../../src/lab/guest/command-script';

const id = 'c0ffee';
const unexpected = (cause: unknown) => {
  throw cause;
};

test('all of a stream has been written when it resolves, at the pace of the target', async () => {
  const source = new PassThrough();
  let received = 0;
  let most = 0;
  const target = new Writable({
    highWaterMark: 1000,
    write(chunk: Buffer, _encoding, done) {
      most = Math.max(most, target.writableLength);
      setTimeout(() => {
        received += chunk.length;
        done();
      }, 1);
    },
  });
  const delivered = deliver(source, target, id, unexpected);
  for (let i = 0; i < 500; i++) source.write(Buffer.alloc(1000));
  source.write(endOfStream(id));
  await delivered;
  expect(received).toBe(500_000);
  // Streams hold up to 64 KiB from Node 22 on.
  expect(most).toBeLessThan(100_000);
  expect(target.eventNames()).toEqual([]);
});

test('a target whose write() calls nobody back, as that of a test runner', async () => {
  const source = new PassThrough();
  const written: unknown[] = [];
  const target = new Writable();
  target.write = (chunk: unknown) => written.push(chunk) > 0;
  const delivered = deliver(source, target, id, unexpected);
  source.write(`text${endOfStream(id)}`);
  await delivered;
  expect(written.join('')).toBe('text');
});

test.each(['', 'text'])("an error after %j has been delivered is nobody's", async (output) => {
  const destroy = jest.spyOn(UntilToken.prototype, 'destroy');
  const source = new PassThrough();
  const delivered = deliver(source, new PassThrough(), id, unexpected);
  source.write(`${output}${endOfStream(id)}`);
  await delivered;
  await new Promise(setImmediate);
  // On Node 24, the end of the loop over the stream is one.
  const [until] = destroy.mock.contexts as UntilToken[];
  expect(until?.emit('error', new Error('late'))).toBe(true);
  destroy.mockRestore();
});

test.each([
  ['fails', (target: Writable) => target.destroy(new Error('no room')), 'no room'],
  ['is closed', (target: Writable) => target.destroy(), 'it was closed'],
])('a target that %s', async (_, end, message) => {
  const source = new PassThrough();
  const target = new Writable({ highWaterMark: 1, write() {} });
  const failure = new Promise((resolve) => {
    void deliver(source, target, id, resolve);
  });
  source.write('text');
  setImmediate(() => end(target));
  expect(await failure).toMatchObject({ message });
});

test('a target that fails while it has room for more', async () => {
  const source = new PassThrough();
  const target = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no room')) });
  const failure = new Promise((resolve) => {
    void deliver(source, target, id, resolve);
  });
  const more = setInterval(() => source.write('y\n'), 1);
  expect(await failure).toMatchObject({ message: 'no room' });
  clearInterval(more);
  // What comes after is read all the same.
  source.end(Buffer.alloc(1 << 20));
  await new Promise((resolve) => source.once('end', resolve));
});
