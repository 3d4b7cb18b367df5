/** The header of config space, its first 64 bytes (PCIe 6.0, 7.5.1; PCI-to-PCI Bridge 1.2, 3.2). */
import { type ConfigBytes, field, flags, hex } from './config-bytes';

export interface ConfigBar {
  readonly index: number;
  readonly space: 'memory' | 'io';
  /** Width of the address; one of 64 bits takes the next index, too. */
  readonly bits: 32 | 64;
  readonly prefetchable: boolean;
  /** Hex; `0x0` where no address has been given to it. */
  readonly address: string;
}

export interface ExpansionRom {
  readonly address: string;
  readonly enabled: boolean;
}

/** Addresses that a bridge forwards downstream, both ends inclusive, hex. */
export interface BridgeWindow {
  readonly base: string;
  readonly limit: string;
  readonly bits: 16 | 32 | 64;
}

export type ConfigHeader = ReturnType<typeof common> &
  (
    | ({ readonly type: 'endpoint' } & ReturnType<typeof endpoint>)
    | ({ readonly type: 'bridge' } & ReturnType<typeof bridge>)
    | { readonly type: 'cardbus' | 'unknown' }
  );

const statusBits = {
  capabilityList: 4,
  sixtySixMhz: 5,
  fastBackToBack: 7,
  masterDataParityError: 8,
  signaledTargetAbort: 11,
  receivedTargetAbort: 12,
  receivedMasterAbort: 13,
  systemError: 14,
  detectedParityError: 15,
} as const;

function status(register: number) {
  return {
    ...flags(register, statusBits),
    devsel: (['fast', 'medium', 'slow', 'reserved'] as const)[field(register, 9, 2)]!,
  };
}

function common(config: ConfigBytes) {
  const bist = config.u8(0x0f);
  return {
    vendorId: config.u16(0x00),
    deviceId: config.u16(0x02),
    command: flags(config.u16(0x04), {
      io: 0,
      memory: 1,
      busMaster: 2,
      specialCycles: 3,
      memoryWriteInvalidate: 4,
      vgaPaletteSnoop: 5,
      parityErrorResponse: 6,
      stepping: 7,
      serr: 8,
      fastBackToBack: 9,
      intxDisable: 10,
    }),
    status: {
      ...flags(config.u16(0x06), { immediateReadiness: 0, interrupt: 3 }),
      ...status(config.u16(0x06)),
    },
    revision: config.u8(0x08),
    /** Base class, sub-class, programming interface: 0x020000 is an Ethernet controller. */
    class: config.u32(0x08) >>> 8,
    /** In bytes. */
    cacheLineSize: config.u8(0x0c) * 4,
    latencyTimer: config.u8(0x0d),
    multiFunction: field(config.u8(0x0e), 7, 1) === 1,
    bist: { ...flags(bist, { capable: 7, start: 6 }), completionCode: field(bist, 0, 4) },
    interruptLine: config.u8(0x3c),
    /** 1 is INTA#, 4 INTD#, 0 none. */
    interruptPin: config.u8(0x3d),
  };
}

/** BAR registers that say something; those not implemented read as 0. */
export function decodeBars(config: ConfigBytes, start: number, count: number): ConfigBar[] {
  const bars: ConfigBar[] = [];
  for (let index = 0; index < count; index++) {
    const at = start + index * 4;
    const low = config.u32(at);
    if (low === 0) continue;
    if (field(low, 0, 1) === 1) {
      const address = hex((low & ~3) >>> 0);
      bars.push({ index, space: 'io', bits: 32, prefetchable: false, address });
      continue;
    }
    const wide = field(low, 1, 2) === 2 && index + 1 < count;
    const high = wide ? config.u32(at + 4) : 0;
    const base = BigInt((low & ~0xf) >>> 0);
    bars.push({
      index,
      space: 'memory',
      bits: wide ? 64 : 32,
      prefetchable: field(low, 3, 1) === 1,
      address: hex((BigInt(high) << 32n) | base),
    });
    if (wide) index++;
  }
  return bars;
}

function expansionRom(register: number): ExpansionRom | null {
  if (register === 0) return null;
  return { address: hex((register & ~0x7ff) >>> 0), enabled: field(register, 0, 1) === 1 };
}

function endpoint(config: ConfigBytes) {
  return {
    bars: decodeBars(config, 0x10, 6),
    cardbusCis: config.u32(0x28),
    subsystemVendorId: config.u16(0x2c),
    subsystemId: config.u16(0x2e),
    expansionRom: expansionRom(config.u32(0x30)),
    minGrant: config.u8(0x3e),
    maxLatency: config.u8(0x3f),
  };
}

/** A window is closed by a base above its limit; null then. */
function window(base: bigint, limit: bigint, bits: BridgeWindow['bits']): BridgeWindow | null {
  return base > limit ? null : { base: hex(base), limit: hex(limit), bits };
}

function ioWindow(config: ConfigBytes): BridgeWindow | null {
  const wide = field(config.u8(0x1c), 0, 4) === 1;
  const part = (register: number, upper: number) =>
    (BigInt(wide ? config.u16(upper) : 0) << 16n) | BigInt((config.u8(register) & 0xf0) << 8);
  return window(part(0x1c, 0x30), part(0x1d, 0x32) | 0xfffn, wide ? 32 : 16);
}

function memoryWindow(config: ConfigBytes): BridgeWindow | null {
  const part = (register: number) => BigInt(config.u16(register) & 0xfff0) << 16n;
  return window(part(0x20), part(0x22) | 0xfffffn, 32);
}

function prefetchableWindow(config: ConfigBytes): BridgeWindow | null {
  const wide = field(config.u16(0x24), 0, 4) === 1;
  const part = (register: number, upper: number) =>
    (BigInt(wide ? config.u32(upper) : 0) << 32n) | (BigInt(config.u16(register) & 0xfff0) << 16n);
  return window(part(0x24, 0x28), part(0x26, 0x2c) | 0xfffffn, wide ? 64 : 32);
}

function bridge(config: ConfigBytes) {
  return {
    bars: decodeBars(config, 0x10, 2),
    primaryBus: config.u8(0x18),
    secondaryBus: config.u8(0x19),
    subordinateBus: config.u8(0x1a),
    secondaryLatencyTimer: config.u8(0x1b),
    secondaryStatus: status(config.u16(0x1e)),
    ioWindow: ioWindow(config),
    memoryWindow: memoryWindow(config),
    prefetchableWindow: prefetchableWindow(config),
    expansionRom: expansionRom(config.u32(0x38)),
    bridgeControl: flags(config.u16(0x3e), {
      parityErrorResponse: 0,
      serr: 1,
      isa: 2,
      vga: 3,
      vga16Bit: 4,
      masterAbort: 5,
      secondaryBusReset: 6,
      fastBackToBack: 7,
      primaryDiscardTimer: 8,
      secondaryDiscardTimer: 9,
      discardTimerStatus: 10,
      discardTimerSerr: 11,
    }),
  };
}

export function decodeHeader(config: ConfigBytes): ConfigHeader {
  switch (field(config.u8(0x0e), 0, 7)) {
    case 0:
      return { type: 'endpoint', ...common(config), ...endpoint(config) };
    case 1:
      return { type: 'bridge', ...common(config), ...bridge(config) };
    case 2:
      return { type: 'cardbus', ...common(config) };
    default:
      return { type: 'unknown', ...common(config) };
  }
}
