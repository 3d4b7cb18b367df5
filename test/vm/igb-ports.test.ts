/**
 * Ports of 82576s that are wired in pairs: frames generated, forwarded and captured, and the filters.
 *
 * @kernel stock
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Binding, bindDriver } from 'vfio';
import { Child } from '../../examples/igb/child';
import { Generator } from '../../examples/igb/generator';
import { BROADCAST, type Mac, parseMac } from '../../examples/igb/mac';
import { IgbPort, type PortOptions } from '../../examples/igb/port';
import { UdpTemplate } from '../../examples/igb/udp-frame';
import { type Capture, readCapture } from '../unit/pcapng-blocks';
import { findDevices } from './lab-devices';

const PROGRAMS = join(__dirname, '../../build/examples/igb');

/** The first and the second are wired to each other, and the third and the fourth. */
const PORTS = findDevices('igb')
  .slice(-4)
  .map(({ bdf }) => bdf) as [string, string, string, string];
const directory = mkdtempSync(join(tmpdir(), 'igb-'));
const children: Child[] = [];
let bindings: Binding[] = [];

function start(program: 'generate' | 'forward' | 'capture', ...args: string[]): Child {
  const child = new Child(program, args, PROGRAMS);
  children.push(child);
  return child;
}

beforeAll(async () => {
  if (!existsSync(PROGRAMS)) throw new Error(`${PROGRAMS} is missing: npm run build`);
  if (PORTS.length < 4) throw new Error('the VM has no four igb ports: start it with npm test');
  bindings = await Promise.all(PORTS.map((bdf) => bindDriver(bdf)));
});

afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.stop()));
});

afterAll(async () => {
  await Promise.all(bindings.map((binding) => binding.restore()));
  rmSync(directory, { recursive: true });
});

function expected(source: Mac, bytes: number, flows: number, sequence: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  new UdpTemplate(source, BROADCAST, bytes).write(words, sequence % flows, sequence);
  return Buffer.from(words.buffer, 0, bytes);
}

function expectFrames(capture: Capture, source: Mac, bytes: number, flows: number): void {
  const wrong = capture.packets.filter(
    (packet, n) => !expected(source, bytes, flows, n).equals(packet.bytes),
  );
  expect(wrong).toEqual([]);
}

test('1,000 frames are generated, forwarded over two ports and captured, each as it was', async () => {
  const [sender, left, right, receiver] = PORTS;
  const file = join(directory, 'forwarded.pcapng');
  const forward = start('forward', left, right);
  const capture = start('capture', receiver, file, '--count', '1000');
  await Promise.all([forward.report('ready'), capture.report('ready')]);
  const generate = start('generate', sender, '--count', '1000', '--flows', '5', '--rate', '2000');
  const mac = parseMac(String((await generate.report('ready')).mac))!;
  expect(await generate.finish()).toMatchObject({ frames: 1000, bytes: 60_000 });
  expect(await capture.finish()).toMatchObject({ frames: 1000, errors: 0, dropped: 0 });
  await forward.stop();
  expect(await forward.finish()).toMatchObject({ forwarded: 1000, dropped: 0, errors: 0 });
  const captured = readCapture(readFileSync(file));
  expect(captured).toMatchObject({ linkType: 1, received: 1000n, dropped: 0n });
  expect(captured.packets).toHaveLength(1000);
  expectFrames(captured, mac, 60, 5);
});

test('jumbo frames with a VLAN tag, until SIGTERM', async () => {
  const [sender, receiver] = PORTS;
  const file = join(directory, 'jumbo.pcapng');
  const capture = start('capture', receiver, file, '--max-frame', '9018');
  await capture.report('ready');
  const size = ['--bytes', '9014', '--vlan', '100'];
  const generate = start('generate', sender, '--count', '20', ...size);
  const mac = parseMac(String((await generate.report('ready')).mac))!;
  await generate.finish();
  await capture.stop();
  expect(await capture.finish()).toMatchObject({ frames: 20, errors: 0 });
  const { packets } = readCapture(readFileSync(file));
  expect(packets).toHaveLength(20);
  packets.forEach(({ bytes }, n) => {
    expect([...bytes.slice(12, 16)]).toEqual([0x81, 0, 0, 100]);
    const untagged = Buffer.concat([bytes.slice(0, 12), bytes.slice(16)]);
    expect(untagged.equals(expected(mac, 9014, 1, n))).toBe(true);
  });
});

describe('filters and statistics', () => {
  const OTHER = parseMac('02:00:00:00:00:77')!;
  const GROUP = parseMac('01:00:5e:00:00:01')!;
  let a: IgbPort;
  let b: IgbPort;
  const ids = new Uint32Array(64);

  beforeAll(async () => {
    const small: PortOptions = { rxCount: 64, txCount: 64 };
    a = await IgbPort.open(PORTS[0], small);
    b = await IgbPort.open(PORTS[1], small);
    for (const port of [a, b]) await port.waitForLink(10_000);
  });

  afterAll(async () => {
    await a.close();
    await b.close();
  });

  /** How many of 10 frames arrive. */
  function arriving(destination: Mac, vlan = 0): number {
    const { pool, tx } = a.queues[0]!;
    const template = new UdpTemplate(a.mac, destination, 60);
    new Generator(pool, tx, { template, flows: 1, vlan }).poll(10);
    while (tx.pending > 0);
    const { rx, pool: received } = b.queues[0]!;
    const count = rx.rxBurst(ids, 64);
    for (const id of ids.subarray(0, count)) expect(received.vlan(id)).toBe(vlan);
    received.buffers.giveIndices(ids, 0, count);
    return count;
  }

  test('addresses', () => {
    expect([b.mac, BROADCAST, OTHER, GROUP].map((mac) => arriving(mac))).toEqual([10, 10, 0, 0]);
    b.filters.addAddress(OTHER);
    expect(arriving(OTHER)).toBe(10);
    b.filters.removeAddress(OTHER);
    expect(arriving(OTHER)).toBe(0);
    expect(() => b.filters.addAddress(GROUP)).toThrow('01:00:5e:00:00:01');
  });

  test('promiscuity', () => {
    b.filters.setPromiscuity('multicast');
    expect([OTHER, GROUP].map((mac) => arriving(mac))).toEqual([0, 10]);
    b.filters.setPromiscuity('all');
    expect([OTHER, GROUP].map((mac) => arriving(mac))).toEqual([10, 10]);
    b.filters.setPromiscuity('none');
    expect([OTHER, GROUP].map((mac) => arriving(mac))).toEqual([0, 0]);
  });

  test('VLANs', () => {
    expect(arriving(b.mac, 5)).toBe(10);
    b.filters.setVlans([5, 4095]);
    expect([0, 5, 6, 4095].map((vlan) => arriving(b.mac, vlan))).toEqual([10, 10, 0, 10]);
    expect(() => b.filters.setVlans([4096])).toThrow('4096');
    b.filters.setVlans('all');
    expect(arriving(b.mac, 6)).toBe(10);
  });

  test('statistics', () => {
    const [sent, received] = [a.statistics(), b.statistics()];
    arriving(b.mac);
    arriving(BROADCAST);
    expect(a.statistics().txPackets - sent.txPackets).toBe(20);
    const { rxPackets, rxBytes, rxBroadcast } = b.statistics();
    expect(rxPackets - received.rxPackets).toBe(20);
    expect(rxBytes - received.rxBytes).toBe(20 * 64);
    expect(rxBroadcast - received.rxBroadcast).toBe(10);
  });
});

test.each([
  ['generate', ['--bytes', '59'], '--bytes 59'],
  ['forward', ['0000:01:00.0'], 'two arguments'],
  ['capture', ['0000:01:00.0'], 'BDF and FILE'],
] as const)('%s says what is wrong with its arguments', async (program, args, said) => {
  const target = program === 'generate' ? [PORTS[0]] : [];
  await expect(start(program, ...target, ...args).finish()).rejects.toThrow(
    new RegExp(`ended with 2: ${program}: .*${said}[^]*Usage: node ${program}\\.js`),
  );
});
