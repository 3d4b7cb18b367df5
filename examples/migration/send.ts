/** The side that a device moves from: a conversation begins, and its state goes through a socket. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { openDevice } from 'vfio';
import { runProgram, UsageError } from '../program';
import { SerialPort } from './serial-port';
import { TAKEN } from './taken';

const usage = `Usage: node build/examples/migration/send.js DEVICE SOCKET

DEVICE is the UUID of an mtty, SOCKET the path of the socket that receive.js listens on. Unless
the other side says that it has taken the device, the device works on here.`;

runProgram({ name: 'send', usage, options: {} }, async (_, [uuid, path, ...rest]) => {
  if (!uuid || !path || rest.length > 0) throw new UsageError('it takes a device and a socket');
  await using device = await openDevice(uuid);
  const port = new SerialPort(device);
  port.configure();
  port.write('ping ');
  const socket = connect(path);
  await once(socket, 'connect');
  await pipeline(device.migration.saveState(), socket);
  // All was sent, which is not to say that the driver over there takes it.
  const answer = await text(socket).catch(() => 'gone');
  if (answer !== TAKEN) {
    await device.migration.setState('running');
    throw new Error('the other side did not take the device: it runs here again');
  }
  console.log(`sent: ${device.migration.state}`);
});
