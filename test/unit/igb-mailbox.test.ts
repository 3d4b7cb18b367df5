import { Filters, PF_POOL } from '../../examples/igb/filters';
import { formatMac, macFromWords, parseMac, vfMac } from '../../examples/igb/mac';
import {
  decodeRequest,
  encodeBareNack,
  encodePing,
  encodeReset,
  encodeSetMac,
  encodeSetMaxFrame,
  isAccepted,
  isFromServer,
  PfMailbox,
  VfMailbox,
} from '../../examples/igb/mailbox';
import { Pf, Vf } from '../../examples/igb/registers';
import { Signal } from '../../examples/igb/signal';
import { VfServer } from '../../examples/igb/vf-server';
import { FakeIgb } from './igb-fake';

const PF_MAC = parseMac('52:54:00:12:34:56')!;
const OTHER_MAC = parseMac('02:00:00:00:00:99')!;

describe('messages', () => {
  test.each([
    [[1], { kind: 'reset' }],
    [[2, 0x0302_0100, 0x0504], { kind: 'set-mac', mac: Uint8Array.of(0, 1, 2, 3, 4, 5) }],
    [[0x0001_0002], { kind: 'clear-mac-filters' }],
    [
      [0x0002_0002, 0x0302_0102, 0x0504],
      { kind: 'add-mac-filter', mac: Uint8Array.of(2, 1, 2, 3, 4, 5) },
    ],
    [
      [0x0003_0003, 0x0123_0fff, 0x0042],
      { kind: 'set-multicast', hashes: [0xfff, 0x123, 0x42], total: 3 },
    ],
    [[0x0001_0004, 42], { kind: 'set-vlan', vlan: 42, add: true }],
    [[0x0000_0004, 42], { kind: 'set-vlan', vlan: 42, add: false }],
    [[5, 1518], { kind: 'set-max-frame', bytes: 1518 }],
    [[0x0002_0006], { kind: 'set-promiscuous', multicast: true, unicast: false }],
    [[0x0006_0006], { kind: 'set-promiscuous', multicast: true, unicast: true }],
    [[0x0004_0002], { kind: 'unknown', word: 0x0004_0002 }],
    [[9], { kind: 'unknown', word: 9 }],
  ])('%j', (words, request) => {
    expect(decodeRequest(Uint32Array.from([...words, ...Array(16).fill(0)]))).toEqual(request);
  });

  test('a multicast list that claims more than a message holds is cut to 30', () => {
    const words = Uint32Array.from([0x00ff_0003, ...Array(15).fill(0x0001_0001)]);
    expect(decodeRequest(words)).toMatchObject({ total: 255, hashes: Array(30).fill(1) });
  });
});

/** A PF that serves its VFs, on a fake device, and the mailbox of VF `vf`. */
function connect(vf = 0) {
  const device = new FakeIgb();
  const registers = device.pf();
  const log: string[] = [];
  const server = new VfServer(registers, new Filters(registers), PF_MAC, (index, kind, accepted) =>
    log.push(`${index} ${kind} ${accepted ? 'yes' : 'no'}`),
  );
  const serve = () => {
    // The PF's interrupt comes after the VF's register write, as on a real device.
    setImmediate(() => server.serve());
  };
  device.onPfInterrupt = serve;
  const signal = new Signal();
  device.onVfInterrupt = () => signal.notify();
  server.initialize();
  registers.set(Pf.CTRL_EXT, 0x4000);
  const mailbox = new VfMailbox(device.vf(vf), signal);
  return { device, registers, server, mailbox, signal, log };
}

test('RESET: exactly 0x80000001 and the address; queues enabled, address filtered', async () => {
  const { device, registers, mailbox, log } = connect(2);
  device.resetVf(2);
  const reply = await mailbox.request(encodeReset(), 3);
  expect(reply[0]).toBe(0x8000_0001);
  expect(formatMac(macFromWords(reply[1]!, reply[2]!))).toBe(formatMac(vfMac(PF_MAC, 2)));
  expect(registers.read(Pf.VFTE) & 4).toBe(4);
  expect(registers.read(Pf.VFRE) & 4).toBe(4);
  expect(registers.read(Pf.VFLRE)).toBe(0);
  expect(registers.read(Pf.RAL(21))).toBe(reply[1]);
  expect(registers.read(Pf.RAH(21))).toBe((0x8000_0000 | (1 << 20) | reply[2]!) >>> 0);
  expect(log).toEqual(['2 reset yes']);
});

test('other requests are echoed with ACK and CTS, or NACK', async () => {
  const { mailbox, registers } = connect();
  await mailbox.request(encodeReset(), 3);
  expect((await mailbox.request([5, 1518]))[0]).toBe(0xa000_0005);
  expect(registers.read(Pf.VMOLR(0)) & 0x3fff).toBe(1522);
  expect((await mailbox.request([5, 0xffff]))[0]).toBe(0x6000_0005);
  expect((await mailbox.request(encodeSetMac(OTHER_MAC)))[0]).toBe(0xa000_0002);
  expect((await mailbox.request([9]))[0]).toBe(0x6000_0009);
});

test('a VF that has not reset is refused', async () => {
  const { mailbox, log } = connect();
  expect((await mailbox.request([5, 1518]))[0]).toBe(0x4000_0005);
  expect(log).toEqual(['0 set-max-frame no']);
});

test('a VF cannot take the address of the PF, of another VF, or a group', async () => {
  const { mailbox } = connect();
  await mailbox.request(encodeReset(), 3);
  const group = parseMac('01:00:5e:00:00:01')!;
  for (const mac of [PF_MAC, group, new Uint8Array(6)]) {
    expect(isAccepted((await mailbox.request(encodeSetMac(mac)))[0]!)).toBe(false);
  }
});

test('the eighth VF is refused: its pool is the PF own', async () => {
  const { mailbox, registers } = connect(PF_POOL);
  expect((await mailbox.request(encodeReset(), 3))[0]).toBe(0x4000_0001);
  expect(registers.read(Pf.VFTE)).toBe(0);
});

test('unicast promiscuous is refused, multicast promiscuous is not', async () => {
  const { mailbox, registers } = connect();
  await mailbox.request(encodeReset(), 3);
  expect(isAccepted((await mailbox.request([0x0002_0006]))[0]!)).toBe(true);
  expect(registers.read(Pf.VMOLR(0)) & (1 << 28)).not.toBe(0);
  expect(isAccepted((await mailbox.request([0x0006_0006]))[0]!)).toBe(false);
});

test('a reset of the VF voids what it had asked for', async () => {
  const { device, mailbox, registers, server } = connect();
  await mailbox.request(encodeReset(), 3);
  await mailbox.request([0x0001_0004, 42]);
  await mailbox.request([0x0002_0002, 0x9900_0002, 0x0100]);
  await mailbox.request([0x0001_0003, 0x0021]);
  expect(registers.read(Pf.VLVF(0))).toBe(0x8000_102a);
  expect(registers.read(Pf.VFTA(1))).toBe(1 << 10);
  expect(registers.read(Pf.RAH(1)) >>> 31).toBe(1);
  expect(registers.read(Pf.MTA(1))).toBe(2);
  device.resetVf(0);
  server.serve();
  for (const register of [Pf.VLVF(0), Pf.VFTA(1), Pf.RAH(1), Pf.MTA(1), Pf.RAH(23)]) {
    expect(registers.read(register)).toBe(0);
  }
});

test('a VLAN that two VFs have stays for the second', async () => {
  const { device, mailbox, registers } = connect();
  const second = new VfMailbox(device.vf(1), new Signal());
  for (const each of [mailbox, second]) {
    await each.request(encodeReset(), 3);
    await each.request([0x0001_0004, 42]);
  }
  expect(registers.read(Pf.VLVF(0))).toBe(0x8000_302a);
  await mailbox.request([0x0000_0004, 42]);
  expect(registers.read(Pf.VLVF(0))).toBe(0x8000_202a);
  expect(registers.read(Pf.VFTA(1))).toBe(1 << 10);
});

test('a stray word between request and answer is dropped', async () => {
  const { device, mailbox, registers, server } = connect();
  device.onPfInterrupt = () => {
    device.onPfInterrupt = () => setImmediate(() => server.serve());
    // A ping that overwrites the request: the VF reads it, drops it, and asks again.
    registers.write(Pf.VMBMEM(0), encodePing(false)[0]!);
    registers.write(Pf.MBVFICR, 1);
    registers.write(Pf.P2VMAILBOX(0), 1);
  };
  expect((await mailbox.request(encodeReset(), 3))[0]).toBe(0x8000_0001);
});

test('an answer that nobody read does not pass for the next one, nor is it acknowledged', async () => {
  const { device, mailbox, registers, server } = connect();
  await mailbox.request(encodeReset(), 3);
  device.onPfInterrupt = () => {};
  await new Promise(setImmediate);
  registers.write(Pf.VMBMEM(0), 0xa000_0005);
  registers.write(Pf.P2VMAILBOX(0), 3);
  const reply = mailbox.request([5, 0xffff]);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(registers.read(Pf.MBVFICR)).toBe(1);
  server.serve();
  expect((await reply)[0]).toBe(0x6000_0005);
});

test('a ping does not pass for an answer', async () => {
  const { mailbox, server } = connect();
  await mailbox.request(encodeReset(), 3);
  server.ping();
  expect(mailbox.poll()).toBe(0x2000_0100);
  expect(mailbox.poll()).toBeUndefined();
  expect((await mailbox.request([5, 1518]))[0]).toBe(0xa000_0005);
});

test('a ping waits until the VF has read the answer before it', () => {
  const { device, registers, server } = connect();
  const vf = device.vf(0);
  vf.write(Vf.VMBMEM, encodeReset()[0]!);
  vf.write(Vf.V2PMAILBOX, 1);
  server.serve();
  server.ping();
  expect(registers.read(Pf.VMBMEM(0))).toBe(0x8000_0001);
  vf.write(Vf.V2PMAILBOX, 2);
  server.serve();
  expect(registers.read(Pf.VMBMEM(0))).toBe(0x2000_0100);
});

test('a VF that resets while others are served keeps what its RESET gives it', async () => {
  const { device, mailbox, registers, server } = connect();
  device.onPfRead = (offset) => {
    if (offset !== Pf.MBVFICR) return;
    device.onPfRead = () => {};
    device.put(Pf.VFLRE, 1);
  };
  const reply = mailbox.request(encodeReset(), 3);
  server.serve();
  await reply;
  server.serve();
  expect(registers.read(Pf.RAH(23)) >>> 31).toBe(1);
  expect((await mailbox.request([5, 1518]))[0]).toBe(0xa000_0005);
});

test('a VF that never lets go of its buffer loses it', async () => {
  const { device, registers, server } = connect();
  const vf = device.vf(0);
  vf.write(Vf.V2PMAILBOX, 4);
  vf.write(Vf.V2PMAILBOX, 5);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  server.close();
  expect(device.get(Pf.P2VMAILBOX(0)) & 4).toBe(0);
  expect(registers.read(Pf.MBVFICR)).toBe(0);
});

describe('a PF that answers every acknowledgement with a bare NACK', () => {
  const ACKS = 0xff_0000;

  /** As `connect`, with such a PF; `order`: whether it serves requests or acknowledgements first. */
  function connectNacking(order: 'requests' | 'acknowledgements') {
    const connection = connect();
    const { device, registers, server } = connection;
    const mailbox = new PfMailbox(registers);
    let nacks = 0;
    device.onPfInterrupt = () =>
      setImmediate(() => {
        const acknowledged = device.get(Pf.MBVFICR) & ACKS;
        const nack = () => {
          if (acknowledged && mailbox.send(0, encodeBareNack())) nacks += 1;
        };
        if (order === 'acknowledgements') nack();
        server.serve();
        if (order === 'requests') nack();
      });
    return { ...connection, nacks: () => nacks };
  }

  const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

  test.each(['requests', 'acknowledgements'] as const)(
    'gets none for its NACK, and answers requests all the same (%s first)',
    async (order) => {
      const { mailbox, nacks } = connectNacking(order);
      expect((await mailbox.request(encodeReset(), 3))[0]).toBe(0x8000_0001);
      await pause();
      expect(mailbox.poll()).toBe(0x4000_0000);
      await pause();
      expect([mailbox.poll(), nacks()]).toEqual([undefined, 1]);
      for (let i = 0; i < 10; i++) {
        expect((await mailbox.request(encodeSetMaxFrame(1518)))[0]).toBe(0xa000_0005);
      }
      mailbox.expectNacks();
      await pause();
      expect(mailbox.poll()).toBeUndefined();
    },
  );

  test('and says so again once it has been reset, or without an acknowledgement', async () => {
    const { device, mailbox, registers } = connectNacking('requests');
    await mailbox.request(encodeReset(), 3);
    await pause();
    mailbox.expectNacks();
    expect(mailbox.poll()).toBeUndefined();
    new PfMailbox(registers).send(0, encodeBareNack());
    expect(mailbox.poll()).toBe(0x4000_0000);
    device.resetPf();
    mailbox.forgetReset();
    registers.set(Pf.CTRL_EXT, 0x4000);
    await mailbox.request(encodeReset(), 3);
    await pause();
    expect(mailbox.poll()).toBe(0x4000_0000);
  });
});

test('an answer to RESET that comes once more is of a PF that knows the VF', () => {
  expect([0x8000_0001, 0xa000_0005, 0x6000_0005, 0x2000_0100].every(isFromServer)).toBe(true);
  expect([0x4000_0000, 0x4000_0005, 0x0000_0100].some(isFromServer)).toBe(false);
});

test('a silent PF is an error', async () => {
  const device = new FakeIgb();
  const mailbox = new VfMailbox(device.vf(0), new Signal());
  device.pf().set(Pf.CTRL_EXT, 0x4000);
  await expect(mailbox.request(encodeReset(), 3)).rejects.toMatchObject({
    message: expect.stringContaining('did not answer'),
  });
});

test('a reset of the PF is seen, also when it is over', () => {
  const { device, mailbox, registers } = connect();
  mailbox.forgetReset();
  expect(mailbox.hasBeenReset()).toBe(false);
  device.resetPf();
  expect(mailbox.hasBeenReset()).toBe(true);
  registers.set(Pf.CTRL_EXT, 0x4000);
  expect(mailbox.inReset()).toBe(false);
  expect(mailbox.hasBeenReset()).toBe(true);
  mailbox.forgetReset();
  expect(mailbox.hasBeenReset()).toBe(false);
});
