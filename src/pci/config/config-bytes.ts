/** Registers of config space, little-endian, and their parts. */

/** A part of config space. What is outside of it reads as 0, as reserved registers do. */
export class ConfigBytes {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length;
  }

  u8(offset: number): number {
    return this.#bytes[offset] ?? 0;
  }

  u16(offset: number): number {
    return this.u8(offset) | (this.u8(offset + 1) << 8);
  }

  u32(offset: number): number {
    return (this.u16(offset) | (this.u16(offset + 2) << 16)) >>> 0;
  }

  /** Two registers, low half first, as a hex number such as `0xfebc0000`. */
  hex64(offset: number): string {
    return hex((BigInt(this.u32(offset + 4)) << 32n) | BigInt(this.u32(offset)));
  }

  /** The bytes as hex digits, two per byte. */
  hexDigits(): string {
    return Buffer.from(this.#bytes).toString('hex');
  }

  /** Shorter than `length` where config space ends before. */
  part(offset: number, length = this.length - offset): ConfigBytes {
    return new ConfigBytes(this.#bytes.subarray(offset, offset + length));
  }
}

export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** The field of a register that starts at bit `low`. */
export function field(register: number, low: number, width: number): number {
  return (register >>> low) & (2 ** width - 1);
}

/** Flags of a register by their bit numbers. */
export function flags<K extends string>(
  register: number,
  bits: Readonly<Record<K, number>>,
): { readonly [name in K]: boolean } {
  const entries = Object.entries<number>(bits);
  return Object.fromEntries(
    entries.map(([name, bit]) => [name, field(register, bit, 1) === 1]),
  ) as { [name in K]: boolean };
}
