/**
 * Driver of a virtual function (4.5.11.2.2, 8.26): one receive and one transmit queue, three MSI-X
 * vectors, and the mailbox to whatever drives the PF.
 */
import { type Device, openDevice } from 'vfio';
import { DriverError } from './errors';
import { isUnicast, type Mac, macFromWords, randomMac } from './mac';
import {
  encodeReset,
  encodeSetMac,
  encodeSetMaxFrame,
  isAccepted,
  isBareNack,
  isClearToSend,
  isFromServer,
  VfMailbox,
} from './mailbox';
import type { PacketPool } from './packet-pool';
import { assert82576, VF_DEVICE_ID } from './pci-id';
import { createQueues, type QueuePair } from './queue-pair';
import { CTRL_RST, eitr, IVAR_VALID, Registers, STATUS_LU, Vf, type VfRegister } from './registers';
import type { RxQueue } from './rx-queue';
import { Signal } from './signal';
import { VfCounters, type VfStatistics } from './statistics';
import type { Port } from './traffic';
import type { TxQueue } from './tx-queue';

// As in the kernel's igbvf: QEMU adds up what successive drivers write to IVAR.
const TX_VECTOR = 0;
const RX_VECTOR = 1;
const MAILBOX_VECTOR = 2;
const ALL_VECTORS = (1 << TX_VECTOR) | (1 << RX_VECTOR) | (1 << MAILBOX_VECTOR);

const RX_INTERVAL_US = 50;
const START_MS = 3000;
/** Time for another driver to take the PF over. */
const RECOVERY_MS = 30_000;
const WATCHDOG_MS = 100;
const POLL_MS = 5;
/** Bytes with FCS, and what every PF sets for a VF to begin with. */
const MAX_FRAME = 1518;

export class VfDriver implements Port {
  onActivity: () => void = () => {};
  /** The PF has been reset: frames under way are lost, and the address may be another. */
  onReset: () => void = () => {};
  /** Recovery from a reset of the PF failed. */
  onFailure: (error: unknown) => void = () => {};
  mac: Mac = new Uint8Array(6);
  private readonly activity = new Signal();
  readonly pool: PacketPool;
  readonly rx: RxQueue<VfRegister>;
  readonly tx: TxQueue<VfRegister>;
  private readonly mailbox: VfMailbox;
  private readonly counters: VfCounters;
  private watchdog: NodeJS.Timeout | undefined;
  private recovering = false;
  private asking = false;
  private closed = false;

  private constructor(
    readonly device: Device,
    private readonly registers: Registers<VfRegister>,
    queues: QueuePair<VfRegister>,
  ) {
    ({ pool: this.pool, rx: this.rx, tx: this.tx } = queues);
    this.counters = new VfCounters(registers);
    this.mailbox = new VfMailbox(registers, this.activity);
  }

  /** Open the VF and bring it up. @throws DriverError if no PF driver serves it */
  static async open(bdf: string, options: { vfToken?: string } = {}): Promise<VfDriver> {
    const device = await openDevice(bdf, options);
    try {
      assert82576(device, VF_DEVICE_ID);
      const registers = new Registers<VfRegister>(device.region('bar0'));
      const queues = await createQueues(registers, Vf, device.dma);
      const driver = new VfDriver(device, registers, queues);
      await driver.start();
      return driver;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  linkUp(): boolean {
    return !this.recovering && (this.registers.read(Vf.STATUS) & STATUS_LU) !== 0;
  }

  statistics(): VfStatistics {
    return this.counters.read();
  }

  async close(): Promise<void> {
    this.closed = true;
    clearInterval(this.watchdog);
    this.registers.write(Vf.EIMC, ALL_VECTORS);
    this.tx.stop();
    this.rx.stop();
    await this.device.close();
  }

  private async start(): Promise<void> {
    this.device.irq('msix').on(() => this.interrupt());
    await this.bringUp(START_MS);
    this.watchdog = setInterval(() => this.watch(), WATCHDOG_MS);
  }

  /** From whatever state the VF is in to running queues. */
  private async bringUp(timeoutMs: number): Promise<void> {
    const { device, registers } = this;
    await this.waitForPf(timeoutMs);
    device.enableBusMaster();
    const msix = device.irq('msix');
    await msix.disable();
    await msix.enable([TX_VECTOR, RX_VECTOR, MAILBOX_VECTOR]);
    registers.write(Vf.CTRL, CTRL_RST);
    this.mailbox.forgetReset();
    this.setUpInterrupts();
    this.mac = await this.reset();
    // What they count from; a reset may have cleared them.
    this.counters.restart();
    this.rx.start();
    this.tx.start();
  }

  private async waitForPf(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      // The registers are gone with the VF's memory enable bit; this brings it back, too.
      if (!this.answers()) this.device.enableBusMaster();
      if (this.answers() && !this.mailbox.inReset()) return;
      if (Date.now() >= deadline) {
        throw new DriverError(
          `${this.device.bdf}: the PF has been in reset for ${Math.ceil(timeoutMs / 1000)} s`,
          'start a driver for the PF (pf.js, or set the interface of the kernel driver igb up) first',
        );
      }
      await this.activity.wait(POLL_MS);
    }
  }

  /** A function level reset of the PF makes its VFs anew: until they are enabled, reads give no value. */
  private answers(): boolean {
    const status = this.registers.read(Vf.STATUS);
    return status !== 0 && status !== 0xffff_ffff;
  }

  /** Tell the PF, which answers with our address; or without one, and then we choose. */
  private async reset(): Promise<Mac> {
    const [answer, low, high] = await this.mailbox.request(encodeReset(), 3);
    const given = macFromWords(low!, high!);
    if (isAccepted(answer!) && isUnicast(given)) return given;
    const chosen = this.mac.some((byte) => byte !== 0) ? this.mac : randomMac();
    const [reply] = await this.mailbox.request(encodeSetMac(chosen));
    if (isAccepted(reply!)) return chosen;
    throw new DriverError(
      'the PF neither gives an address nor accepts one',
      'set one on the PF (ip link set PF vf N mac ADDRESS), or let the PF serve this VF',
    );
  }

  private setUpInterrupts(): void {
    const { registers } = this;
    registers.write(Vf.EITR(RX_VECTOR), eitr(RX_INTERVAL_US));
    registers.write(Vf.IVAR, RX_VECTOR | IVAR_VALID | ((TX_VECTOR | IVAR_VALID) << 8));
    registers.write(Vf.IVAR_MISC, MAILBOX_VECTOR | IVAR_VALID);
    registers.write(Vf.EIAC, ALL_VECTORS);
    registers.write(Vf.EIMS, ALL_VECTORS);
  }

  /** QEMU delivers the mailbox's cause to the vector below the one asked for: all vectors do all. */
  private interrupt(): void {
    if (this.closed) return;
    this.activity.notify();
    if (!this.recovering) this.onActivity();
  }

  /** A reset of the PF raises no interrupt, so it is looked for. */
  private watch(): void {
    if (this.recovering || this.asking || this.closed) return;
    if (!this.answers() || this.mailbox.hasBeenReset()) {
      void this.recover();
      return;
    }
    const word = this.mailbox.poll();
    if (word === undefined || isFromServer(word)) return;
    if (isBareNack(word)) void this.ask();
    else void this.recover();
  }

  /** Whether the PF knows this VF: a bare NACK proves nothing, as some PFs send it after every acknowledgement. */
  private async ask(): Promise<void> {
    this.asking = true;
    try {
      const [reply] = await this.mailbox.request(encodeSetMaxFrame(MAX_FRAME));
      if (this.closed) return;
      if (isClearToSend(reply!)) this.mailbox.expectNacks();
      else void this.recover();
    } catch (error) {
      // A PF that answers nothing may be about to be reset, which is seen by other signs.
      if (!this.closed && !(error instanceof DriverError)) this.onFailure(error);
    } finally {
      this.asking = false;
    }
  }

  private async recover(): Promise<void> {
    this.recovering = true;
    const deadline = Date.now() + RECOVERY_MS;
    for (;;) {
      try {
        await this.bringUp(deadline - Date.now());
        break;
      } catch (error) {
        if (this.closed) return;
        // The PF may have been reset again meanwhile.
        if (Date.now() >= deadline) {
          this.onFailure(error);
          return;
        }
        await this.activity.wait(POLL_MS);
      }
    }
    this.recovering = false;
    this.onReset();
  }
}
