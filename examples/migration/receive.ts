/** The side that a device moves to: waits for its state on a socket, then goes on with the conversation. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { openDevice } from 'vfio';
import { runProgram, UsageError } from '../program';
import { SerialPort } from './serial-port';
import { TAKEN } from './taken';

const usage = `Usage: node build/examples/migration/receive.js DEVICE SOCKET

DEVICE is the UUID of an mtty, SOCKET the path of a socket to listen on. What comes in commands all that
the device can do, so let nobody else connect.`;

runProgram({ name: 'receive', usage, options: {} }, async (_, [uuid, path, ...rest]) => {
  if (!uuid || !path || rest.length > 0) throw new UsageError('it takes a device and a socket');
  await using device = await openDevice(uuid);
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }).listen(path);
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  await pipeline(socket, device.migration.loadState());
  // The driver has taken it: until it hears that, the other side holds on to the device.
  socket.end(TAKEN);
  const port = new SerialPort(device);
  port.write('pong');
  console.log(`received: ${port.read()}`);
});
