import { EventQueue } from '../../src/irq/event-queue';

const never = new AbortController().signal;

test('events that wait are added up per vector, in order of their first', async () => {
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 2, count: 1 });
  queue.push({ vector: 0, count: 1 });
  queue.push({ vector: 2, count: 3 });
  expect(await queue.next()).toEqual({ done: false, value: { vector: 2, count: 4 } });
  expect(await queue.next()).toEqual({ done: false, value: { vector: 0, count: 1 } });
});

test('a waiting reader gets the event at once; an end ends it', async () => {
  const ended = jest.fn();
  const queue = new EventQueue(never, ended);
  const first = queue.next();
  const second = queue.next();
  queue.push({ vector: 1, count: 1 });
  expect(await first).toEqual({ done: false, value: { vector: 1, count: 1 } });
  queue.end();
  expect(await second).toEqual({ done: true, value: undefined });
  expect(await queue.next()).toEqual({ done: true, value: undefined });
  expect(ended).toHaveBeenCalledTimes(1);
});

test('what is pending at the end is still delivered', async () => {
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 5, count: 7 });
  queue.end();
  expect((await queue.next()).value).toEqual({ vector: 5, count: 7 });
  expect((await queue.next()).done).toBe(true);
});

test('an abort rejects with its reason, waiting or not', async () => {
  const controller = new AbortController();
  const queue = new EventQueue(controller.signal, () => {});
  const waiting = queue.next();
  controller.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow('enough');
  await expect(queue.next()).rejects.toThrow('enough');
  await expect(new EventQueue(controller.signal, () => {}).next()).rejects.toThrow('enough');
});

test('an event counts as done when the consumer asks for the next one', async () => {
  const done = jest.fn();
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 0, count: 1 }, done);
  await queue.next();
  expect(done).not.toHaveBeenCalled();
  void queue.next();
  expect(done).toHaveBeenCalledTimes(1);
});

test('leaving a for-await loop counts its event as done and ends the queue', async () => {
  const done = jest.fn();
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 0, count: 1 }, done);
  for await (const event of queue) {
    expect(event.count).toBe(1);
    break;
  }
  expect(done).toHaveBeenCalledTimes(1);
});

test('leaving with an event that nobody looked at counts it as done: whoever waits for that unmasks', async () => {
  const done = jest.fn();
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 0, count: 1 }, done);
  await queue.return();
  expect(done).toHaveBeenCalledTimes(1);
  expect((await queue.next()).done).toBe(true);
});

test('so does leaving a queue that has ended', async () => {
  const done = jest.fn();
  const queue = new EventQueue(never, () => {});
  queue.push({ vector: 0, count: 1 }, done);
  queue.end();
  await queue.return();
  expect(done).toHaveBeenCalledTimes(1);
  expect((await queue.next()).done).toBe(true);
});
