/** 32-bit accesses by the addon whose argument and results are in memory: each is a call less. */
import type { NativeAccessors, RegisterAccessors } from '../native';

/** The same accessors; `exchange` stays here, where nobody can transfer it. */
export function exchanging(native: NativeAccessors): RegisterAccessors {
  const { exchange, exchangeRead32, exchangeWrite32 } = native;
  const at = new Float64Array(exchange, 0, 1);
  const word = new Uint32Array(exchange, 8, 1);
  const error = new Int32Array(exchange, 12, 1);
  return {
    ...native,
    read32(offset) {
      // The addon converts nothing, and an array would.
      if (typeof offset !== 'number') return native.read32(offset);
      at[0] = offset;
      exchangeRead32();
      return error[0] === 0 ? word[0]! : error[0]!;
    },
    write32(offset, value) {
      if (typeof offset !== 'number' || !is32Bits(value)) return native.write32(offset, value);
      at[0] = offset;
      word[0] = value;
      exchangeWrite32();
      return error[0]!;
    },
  };
}

/** Of either sign: what a Uint32Array keeps as it is. */
function is32Bits(value: number): boolean {
  return typeof value === 'number' && (value >>> 0 === value || (value | 0) === value);
}
