/** An 82576 for tests: plain registers, and the mailbox, VFLRE and PFRSTD logic of the real one. */
import { type PfRegister, Registers, type VfRegister } from '../../examples/igb/registers';

const VFS = 8;
const CTRL = 0x0000;
const CTRL_EXT = 0x0018;
const MBVFICR = 0x0c80;
const VFLRE = 0x0c88;
const VFRE = 0x0c8c;
const VFTE = 0x0c90;
const P2V = 0x0c00;
const V2P = 0x0c40;
const VMBMEM = 0x0800;

export class FakeIgb {
  readonly memory = new Map<number, number>();
  /** Called when a VF raises the PF's mailbox interrupt, and when the PF raises a VF's. */
  onPfInterrupt: () => void = () => {};
  onVfInterrupt: (vf: number) => void = () => {};
  /** Called before the PF reads a register. */
  onPfRead: (offset: number) => void = () => {};

  constructor() {
    for (let vf = 0; vf < VFS; vf++) this.put(V2P + 4 * vf, 0x40);
  }

  get(offset: number): number {
    return this.memory.get(offset) ?? 0;
  }

  put(offset: number, value: number): void {
    this.memory.set(offset, value >>> 0);
  }

  pf(): Registers<PfRegister> {
    return new Registers<PfRegister>({
      read32: (offset) => {
        this.onPfRead(offset);
        return this.get(offset);
      },
      write32: (offset, value) => this.writePf(offset, value),
    });
  }

  vf(index: number): Registers<VfRegister> {
    const own = 0x10_0000 * (index + 1);
    return new Registers<VfRegister>({
      read32: (offset) => {
        if (offset === V2P) return this.readV2p(index);
        if (isMailboxMemory(offset)) return this.get(offset + 0x40 * index);
        return this.get(own + offset);
      },
      write32: (offset, value) => {
        if (offset === V2P) this.writeV2p(index, value);
        else if (isMailboxMemory(offset)) this.put(offset + 0x40 * index, value);
        else if (offset === CTRL) this.resetVf(index);
        else this.put(own + offset, value);
      },
    });
  }

  /** A reset of the PF: VFs see RSTI until PFRSTD is written. */
  resetPf(): void {
    for (let vf = 0; vf < VFS; vf++) this.put(V2P + 4 * vf, 0x40);
  }

  resetVf(vf: number): void {
    this.put(VFRE, this.get(VFRE) & ~(1 << vf));
    this.put(VFTE, this.get(VFTE) & ~(1 << vf));
    this.put(VFLRE, this.get(VFLRE) | (1 << vf));
    this.onPfInterrupt();
  }

  private writePf(offset: number, value: number): void {
    if (offset === MBVFICR || offset === VFLRE) this.put(offset, this.get(offset) & ~value);
    else if (offset >= P2V && offset < P2V + 4 * VFS) this.writeP2v((offset - P2V) / 4, value);
    else this.put(offset, value);
    if (offset === CTRL_EXT && value & 0x4000) {
      for (let vf = 0; vf < VFS; vf++) {
        this.put(V2P + 4 * vf, (this.get(V2P + 4 * vf) & ~0x40) | 0x80);
      }
    }
  }

  private writeP2v(vf: number, value: number): void {
    const p2v = P2V + 4 * vf;
    const v2p = V2P + 4 * vf;
    const raised = (value & 1 ? 0x10 : 0) | (value & 2 ? 0x20 : 0);
    this.put(v2p, this.get(v2p) | raised);
    if ((value & 8) === 0) {
      this.put(p2v, this.get(p2v) & ~8);
      this.put(v2p, this.get(v2p) & ~8);
    } else if ((this.get(p2v) & 4) === 0) {
      this.put(p2v, this.get(p2v) | 8);
      this.put(v2p, this.get(v2p) | 8);
    }
    if (value & 0x10) {
      this.put(p2v, this.get(p2v) & ~4);
      this.put(v2p, this.get(v2p) & ~4);
      this.put(MBVFICR, this.get(MBVFICR) & ~((1 << vf) | (1 << (16 + vf))));
    }
    if (raised) this.onVfInterrupt(vf);
  }

  private readV2p(vf: number): number {
    const value = this.get(V2P + 4 * vf);
    this.put(V2P + 4 * vf, value & ~0xb0);
    return value;
  }

  private writeV2p(vf: number, value: number): void {
    const p2v = P2V + 4 * vf;
    const v2p = V2P + 4 * vf;
    if ((value & 4) === 0) {
      this.put(v2p, this.get(v2p) & ~4);
      this.put(p2v, this.get(p2v) & ~4);
    } else if ((this.get(v2p) & 8) === 0) {
      this.put(v2p, this.get(v2p) | 4);
      this.put(p2v, this.get(p2v) | 4);
    }
    if (value & 1) this.put(MBVFICR, this.get(MBVFICR) | (1 << vf));
    if (value & 2) this.put(MBVFICR, this.get(MBVFICR) | (1 << (16 + vf)));
    if (value & 3) this.onPfInterrupt();
  }
}

function isMailboxMemory(offset: number): boolean {
  return offset >= VMBMEM && offset < VMBMEM + 0x40;
}
