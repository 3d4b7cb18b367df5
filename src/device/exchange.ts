/** 32-bit accesses by the addon whose argument and results are in memory: each is a call less. */
import type { NativeAccessors, RegisterAccessors } from '../native';

/** The same accessors; `exchange` stays here, where nobody can transfer it. */
export function exchanging(native: NativeAccessors): RegisterAccessors {
  const { exchange, exchangeRead32, exchangeWrite32, ...accessors } = native;
  const at = new Uint32Array(exchange, 0, 1);
  const word = new Uint32Array(exchange, 4, 1);
  const error = new Int32Array(exchange, 8, 1);
  return {
    ...accessors,
    read32(offset) {
      if (!is32BitOffset(offset)) return native.read32(offset);
      at[0] = offset;
      exchangeRead32();
      return error[0] === 0 ? word[0]! : error[0]!;
    },
    write32(offset, value) {
      if (!is32BitOffset(offset) || !is32Bits(value)) return native.write32(offset, value);
      at[0] = offset;
      word[0] = value;
      exchangeWrite32();
      return error[0]!;
    },
  };
}

/** An array would convert what the addon refuses, or takes by its arguments. */
function is32BitOffset(offset: number): boolean {
  return typeof offset === 'number' && offset >>> 0 === offset;
}

/** Of either sign: what a Uint32Array keeps as it is. */
function is32Bits(value: number): boolean {
  return typeof value === 'number' && (value >>> 0 === value || (value | 0) === value);
}
