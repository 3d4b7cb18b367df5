/** The hardware's counters (8.18, 8.26), added up: those of a PF are cleared by reading, a VF's wrap. */
import { Pf, type PfRegister, type Registers, Vf, type VfRegister } from './registers';

/** Frames and bytes since the driver started; bytes are with FCS. */
export interface VfStatistics {
  readonly rxPackets: number;
  readonly rxBytes: number;
  readonly rxMulticast: number;
  readonly txPackets: number;
  readonly txBytes: number;
}

export interface PfStatistics extends VfStatistics {
  readonly rxBroadcast: number;
  /** Frames for which the port had no room. */
  readonly rxMissed: number;
  /** Frames for which a queue had no descriptor. */
  readonly rxDropped: number;
  /** Frames with a wrong FCS, or of a wrong length. */
  readonly rxErrors: number;
}

type Counts<T> = { -readonly [Name in keyof T]: number };
const WORD = 2 ** 32;

export class PfCounters {
  private readonly counts: Counts<PfStatistics> = {
    ...noFrames(),
    rxBroadcast: 0,
    rxMissed: 0,
    rxDropped: 0,
    rxErrors: 0,
  };

  /** @param queues whose drops are counted */
  constructor(
    private readonly registers: Registers<PfRegister>,
    private readonly queues: readonly number[],
  ) {}

  read(): PfStatistics {
    const { registers, counts } = this;
    const take = (register: PfRegister) => registers.read(register);
    counts.rxPackets += take(Pf.GPRC);
    counts.rxBroadcast += take(Pf.BPRC);
    counts.rxMulticast += take(Pf.MPRC);
    counts.txPackets += take(Pf.GPTC);
    // Low word first: the high word's read clears both.
    counts.rxBytes += take(Pf.GORCL) + take(Pf.GORCH) * WORD;
    counts.txBytes += take(Pf.GOTCL) + take(Pf.GOTCH) * WORD;
    counts.rxMissed += take(Pf.MPC);
    for (const queue of this.queues) counts.rxDropped += take(Pf.RQDPC(queue));
    counts.rxErrors += take(Pf.CRCERRS) + take(Pf.RLEC) + take(Pf.RUC) + take(Pf.ROC);
    return { ...counts };
  }
}

export class VfCounters {
  private readonly counts = noFrames();
  private readonly last = new Map<VfRegister, number>();

  constructor(private readonly registers: Registers<VfRegister>) {}

  /** The registers may have changed otherwise than by counting. */
  restart(): void {
    this.last.clear();
    this.read();
  }

  /** Often enough: bytes wrap at 4 GiB, 35 seconds at full rate. */
  read(): VfStatistics {
    const { counts } = this;
    counts.rxPackets += this.grown(Vf.GPRC);
    counts.rxBytes += this.grown(Vf.GORC);
    counts.rxMulticast += this.grown(Vf.MPRC);
    counts.txPackets += this.grown(Vf.GPTC);
    counts.txBytes += this.grown(Vf.GOTC);
    return { ...counts };
  }

  private grown(register: VfRegister): number {
    const value = this.registers.read(register);
    const before = this.last.get(register) ?? value;
    this.last.set(register, value);
    return (value - before) >>> 0;
  }
}

function noFrames(): Counts<VfStatistics> {
  return { rxPackets: 0, rxBytes: 0, rxMulticast: 0, txPackets: 0, txBytes: 0 };
}
