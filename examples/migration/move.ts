/** A serial port moves from one device to another in the middle of a conversation. */
import { createMdev, openDevice, removeMdev } from 'vfio';
import { runProgram, UsageError } from '../program';
import { SerialPort } from './serial-port';

const usage = `Usage: node build/examples/migration/move.js

Makes two serial ports (mtty, of the lab's kernel: npx vfio lab --kernel lab), says something to the
first, moves it to the second, and hears it there.`;

runProgram({ name: 'move', usage, options: {} }, async (_, positionals) => {
  if (positionals.length > 0) throw new UsageError('it takes no arguments');
  const uuids: string[] = [];
  try {
    for (let i = 0; i < 2; i++) uuids.push(await createMdev({ parent: 'mtty', id: 'mtty-1' }));
    await using source = await openDevice(uuids[0]!);
    await using target = await openDevice(uuids[1]!);

    const here = new SerialPort(source);
    here.configure();
    here.write('ping ');

    // Until it is stopped, the device works on; should the target not take it, it runs here again.
    await source.migration.moveTo(target.migration, {
      onProgress: (bytes) => console.log(`${bytes} bytes`),
    });
    console.log(`source: ${source.migration.state}, target: ${target.migration.state}`);

    const there = new SerialPort(target);
    there.write('pong');
    console.log(`heard on the other side: ${there.read()}`);
  } finally {
    await Promise.all(uuids.map((uuid) => removeMdev(uuid)));
  }
});
