/**
 * Driver of the physical function (4.5.11.2.1): brings the port up, serves the mailboxes of all VFs,
 * also of those created later, and has one receive and one transmit queue of its own.
 */
import { type Device, openDevice } from 'vfio';
import { DriverError } from './errors';
import { Filters, MAX_VFS, PF_POOL } from './filters';
import { type Mac, macFromWords } from './mac';
import type { PacketPool } from './packet-pool';
import { assert82576, PF_DEVICE_ID } from './pci-id';
import { restartAutonegotiation } from './phy';
import { createQueues, type QueuePair } from './queue-pair';
import {
  CTRL_EXT_PFRSTD,
  CTRL_SLU,
  eitr,
  GPIE_EIAME,
  GPIE_MSIX_MODE,
  GPIE_NSICR,
  GPIE_PBA,
  ICR_LSC,
  ICR_VMMB,
  IVAR_VALID,
  Pf,
  type PfRegister,
  RCTL_BAM,
  RCTL_EN,
  RCTL_LPE,
  RCTL_SECRC,
  RCTL_VFE,
  Registers,
  STATUS_LU,
  TCTL_EN,
  TCTL_PSP,
} from './registers';
import { resetPort } from './reset';
import type { RxQueue } from './rx-queue';
import { PfCounters, type PfStatistics } from './statistics';
import type { Port } from './traffic';
import type { TxQueue } from './tx-queue';
import { type MailboxListener, VfServer } from './vf-server';

// With seven VFs, their vectors are causes 4 to 24: these three are the PF's.
const OTHER_VECTOR = 0;
const RX_VECTOR = 1;
const TX_VECTOR = 2;
const ALL_VECTORS = (1 << OTHER_VECTOR) | (1 << RX_VECTOR) | (1 << TX_VECTOR);
const ALL = 0xffff_ffff;

const RX_INTERVAL_US = 50;

export interface PfListeners {
  onLink(up: boolean): void;
  onMailbox: MailboxListener;
}

export class PfDriver implements Port {
  onActivity: () => void = () => {};
  readonly mac: Mac;
  readonly pool: PacketPool;
  readonly rx: RxQueue<PfRegister>;
  readonly tx: TxQueue<PfRegister>;
  private readonly server: VfServer;
  private readonly counters: PfCounters;
  private link = false;
  private closed = false;

  private constructor(
    readonly device: Device,
    private readonly registers: Registers<PfRegister>,
    queues: QueuePair<PfRegister>,
    private readonly listeners: PfListeners,
  ) {
    ({ pool: this.pool, rx: this.rx, tx: this.tx } = queues);
    this.mac = macFromWords(registers.read(Pf.RAL(0)), registers.read(Pf.RAH(0)));
    this.counters = new PfCounters(registers, [PF_POOL]);
    this.server = new VfServer(registers, new Filters(registers), this.mac, listeners.onMailbox);
  }

  static async open(
    bdf: string,
    options: { vfToken?: string },
    listeners: PfListeners,
  ): Promise<PfDriver> {
    const device = await openDevice(bdf, options);
    try {
      assert82576(device, PF_DEVICE_ID);
      assertPoolFree(device);
      const registers = new Registers<PfRegister>(device.region('bar0'));
      await resetPort(registers);
      const queues = await createQueues(registers, Pf.queue(PF_POOL), device.dma);
      const driver = new PfDriver(device, registers, queues, listeners);
      await driver.start();
      return driver;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  linkUp(): boolean {
    return this.link;
  }

  /** Of the port, with all its VFs. */
  statistics(): PfStatistics {
    return this.counters.read();
  }

  /** The addresses that VFs get, by index. */
  vfAddress(vf: number): Mac {
    return this.server.address(vf);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    const { registers } = this;
    this.server.close();
    registers.write(Pf.EIMC, ALL);
    registers.write(Pf.IMC, ALL);
    registers.write(Pf.RCTL, 0);
    registers.write(Pf.TCTL, TCTL_PSP);
    // VFs see that their PF is in reset, and wait.
    await resetPort(registers);
    await this.device.close();
  }

  private async start(): Promise<void> {
    const { device, registers } = this;
    this.server.initialize();
    const msix = device.irq('msix');
    device.enableBusMaster();
    await msix.enable([OTHER_VECTOR, RX_VECTOR, TX_VECTOR]);
    msix.on(({ vector }) => this.interrupt(vector));
    this.setUpInterrupts();

    registers.write(Pf.VFRE, 1 << PF_POOL);
    registers.write(Pf.VFTE, 1 << PF_POOL);
    registers.write(Pf.TCTL, registers.read(Pf.TCTL) | TCTL_EN | TCTL_PSP);
    this.rx.start();
    this.tx.start();
    registers.write(Pf.RCTL, RCTL_EN | RCTL_BAM | RCTL_LPE | RCTL_VFE | RCTL_SECRC);

    registers.set(Pf.CTRL, CTRL_SLU);
    await restartAutonegotiation(registers);
    // Last, for now VFs begin to talk.
    registers.set(Pf.CTRL_EXT, CTRL_EXT_PFRSTD);
  }

  private setUpInterrupts(): void {
    const { registers } = this;
    registers.write(Pf.GPIE, GPIE_NSICR | GPIE_MSIX_MODE | GPIE_EIAME | GPIE_PBA);
    registers.write(Pf.IVAR(PF_POOL), RX_VECTOR | IVAR_VALID | ((TX_VECTOR | IVAR_VALID) << 8));
    registers.write(Pf.IVAR_MISC, (OTHER_VECTOR | IVAR_VALID) << 8);
    registers.write(Pf.EITR(RX_VECTOR), eitr(RX_INTERVAL_US));
    registers.write(Pf.MBVFIMR, 0xff);
    registers.write(Pf.EIAC, ALL_VECTORS);
    registers.write(Pf.EIMS, ALL_VECTORS);
    registers.write(Pf.IMS, ICR_LSC | ICR_VMMB);
  }

  private interrupt(vector: number): void {
    if (this.closed) return;
    if (vector === OTHER_VECTOR) this.serveOther();
    else this.onActivity();
  }

  private serveOther(): void {
    const causes = this.registers.read(Pf.ICR);
    if (causes & ICR_VMMB) this.server.serve();
    if (causes & ICR_LSC) this.checkLink();
  }

  private checkLink(): void {
    const up = (this.registers.read(Pf.STATUS) & STATUS_LU) !== 0;
    if (up === this.link) return;
    this.link = up;
    this.server.ping();
    this.listeners.onLink(up);
  }
}

function assertPoolFree(device: Device): void {
  const { numVfs } = device.sriov;
  if (numVfs <= MAX_VFS) return;
  throw new DriverError(
    `${device.bdf} has ${numVfs} VFs: the eighth has the pool of the PF itself`,
    `have at most ${MAX_VFS}: echo 0 > /sys/bus/pci/devices/${device.bdf}/sriov_numvfs, then fewer`,
  );
}
