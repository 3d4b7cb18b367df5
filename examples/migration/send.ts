/** The side that a device moves from: a conversation begins, and its state goes through a socket. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { openDevice } from 'vfio';
import { runProgram, UsageError } from '../program';
import { SerialPort } from './serial-port';

const usage = `Usage: node dist/examples/migration/send.js DEVICE SOCKET

DEVICE is the UUID of an mtty, SOCKET the path of the socket that receive.js listens on. If the other side
goes away before all is there, the device works on here.`;

runProgram({ name: 'send', usage, options: {} }, async (_, [uuid, path, ...rest]) => {
  if (!uuid || !path || rest.length > 0) throw new UsageError('it takes a device and a socket');
  await using device = await openDevice(uuid);
  const port = new SerialPort(device);
  port.configure();
  port.write('ping ');
  const socket = connect(path);
  await once(socket, 'connect');
  await pipeline(device.migration.saveState(), socket);
  console.log(`sent: ${device.migration.state}`);
});
