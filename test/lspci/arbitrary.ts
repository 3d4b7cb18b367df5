/** Config spaces whose registers are at random, but for what lspci has no word for. */
import fc from 'fast-check';

interface Slot {
  id: number;
  offset: number;
  size: number;
  /** Bits to clear or to set in the registers behind the head: what is reserved, and what lspci has no word for. */
  adjust?(cap: DataView): void;
}

const masked16 =
  (at: number, mask: number, or = 0) =>
  (cap: DataView) =>
    cap.setUint16(at, (cap.getUint16(at, true) & mask) | or, true);
const masked32 =
  (at: number, mask: number, or = 0) =>
  (cap: DataView) =>
    cap.setUint32(at, (cap.getUint32(at, true) & mask) | or, true);
const both =
  (...steps: ((cap: DataView) => void)[]) =>
  (cap: DataView) => {
    for (const step of steps) step(cap);
  };

const capabilities: readonly Slot[] = [
  { id: 0x01, offset: 0x40, size: 8 },
  { id: 0x05, offset: 0x48, size: 0x18 },
  { id: 0x11, offset: 0x60, size: 12 },
  { id: 0x0d, offset: 0x6c, size: 8 },
  { id: 0x13, offset: 0x74, size: 8, adjust: masked16(2, 0xff00, 6) },
  { id: 0x09, offset: 0x7c, size: 16, adjust: masked16(2, 0xff00, 16) },
  {
    id: 0x10,
    offset: 0xa0,
    size: 0x3c,
    adjust: both(
      // Payloads up to 512 bytes, and no flit mode.
      masked32(0x04, ~5),
      masked16(0x08, ~0x50a0),
    ),
  },
];

const latencyScale = (at: number) => masked16(at, ~0x1800);

const extended: readonly Slot[] = [
  { id: 0x01, offset: 0x100, size: 0x38 },
  { id: 0x03, offset: 0x140, size: 12 },
  { id: 0x0d, offset: 0x150, size: 8, adjust: masked16(4, ~0x20) },
  { id: 0x0e, offset: 0x160, size: 8 },
  { id: 0x0f, offset: 0x170, size: 8 },
  {
    id: 0x10,
    offset: 0x180,
    size: 0x40,
    adjust: (cap) => {
      for (let bar = 0x24; bar < 0x3c; bar += 4) cap.setUint32(bar, 0);
    },
  },
  { id: 0x13, offset: 0x1c0, size: 0x10 },
  { id: 0x1b, offset: 0x1d0, size: 8 },
  { id: 0x18, offset: 0x1e0, size: 8, adjust: both(latencyScale(4), latencyScale(6)) },
  {
    id: 0x1e,
    offset: 0x1f0,
    size: 0x10,
    adjust: both(masked32(4, ~0x20000), masked32(8, ~0x80000000), masked32(12, ~2)),
  },
  {
    id: 0x15,
    offset: 0x210,
    size: 12,
    // One BAR, of one size at least, and none above 128 TiB, which lspci 3.9 does not look for.
    adjust: both(masked32(8, 0x1f00, 0x20), masked32(4, 0xffff_fff0, 0x10)),
  },
  { id: 0x0b, offset: 0x230, size: 16, adjust: masked32(4, 0xf_ffff, 16 << 20) },
  {
    id: 0x23,
    offset: 0x250,
    size: 16,
    adjust: masked32(4, 0xf_0000, (16 << 20) | 0x1234),
  },
  { id: 0x1f, offset: 0x270, size: 12 },
];

const portTypes = [0, 1, 4, 5, 6, 7, 8, 9, 10];

/** 256 bytes of a bridge's config space without capabilities: windows open and closed, of all widths. */
export const randomBridge: fc.Arbitrary<Uint8Array> = fc
  .uint8Array({ minLength: 64, maxLength: 64 })
  .map((noise) => {
    const config = new Uint8Array(256);
    config.set(noise);
    const view = new DataView(config.buffer);
    view.setUint32(0, 0x1234_8086, true);
    // Decoding is on, or lspci takes the windows for disabled; no capabilities, no reserved DEVSEL.
    view.setUint16(4, view.getUint16(4, true) | 3, true);
    view.setUint16(6, view.getUint16(6, true) & ~0x610, true);
    view.setUint16(0x1e, view.getUint16(0x1e, true) & ~0x600, true);
    config.set([0x01, 0x00, 0x04, 0x06], 0x08);
    config.set([0x01, 0x00], 0x0e);
    // BARs and ROM have tests of their own; the two ends of a window are of one type.
    view.setUint32(0x10, 0xfe00_0000, true);
    view.setUint32(0x14, 0);
    view.setUint32(0x38, 0);
    for (const [base, limit] of [
      [0x1c, 0x1d],
      [0x20, 0x22],
      [0x24, 0x26],
    ] as const) {
      const type = base === 0x20 ? 0 : config[base]! & 1;
      config[base] = (config[base]! & 0xf0) | type;
      config[limit] = (config[limit]! & 0xf0) | type;
    }
    config[0x3d] = config[0x3d]! & 3;
    return config;
  });

/** 4096 bytes of an endpoint's config space, with all capabilities that are decoded. */
export const randomConfigSpace: fc.Arbitrary<Uint8Array> = fc
  .record({
    noise: fc.uint8Array({ minLength: 0x280, maxLength: 0x280 }),
    portType: fc.constantFrom(...portTypes),
    version: fc.constantFrom(1, 2),
  })
  .map(({ noise, portType, version }) => {
    const config = new Uint8Array(4096);
    const view = new DataView(config.buffer);
    view.setUint32(0, 0x1234_8086, true);
    config.set(noise.subarray(4, 8), 4);
    view.setUint16(6, (view.getUint16(6, true) & ~0x600) | 0x10, true);
    config.set([0x02, 0x00, 0x00, 0x02], 0x08);
    config[0x34] = capabilities[0]!.offset;
    const place = ({ offset, size, adjust }: Slot, head: number) => {
      config.set(noise.subarray(offset + head, offset + size), offset + head);
      adjust?.(new DataView(config.buffer, offset, size));
    };
    capabilities.forEach((slot, n) => {
      config.set([slot.id, capabilities[n + 1]?.offset ?? 0], slot.offset);
      place(slot, 2);
    });
    const flags = view.getUint16(0xa2, true) & 0x3f00;
    view.setUint16(0xa2, flags | (portType << 4) | version, true);
    extended.forEach((slot, n) => {
      const next = extended[n + 1]?.offset ?? 0;
      view.setUint32(slot.offset, (slot.id | (1 << 16) | (next << 20)) >>> 0, true);
      place(slot, 4);
    });
    return config;
  });
