/** Registers of a region of which only parts are mapped (VFIO_REGION_INFO_CAP_SPARSE_MMAP). */
import { constants } from 'node:os';
import type { RegisterAccessors } from '../native';

const { EBADF, EINVAL, ERANGE } = constants.errno;

/** A part that is mapped: [start, end) of the region, with accessors that count from its start. */
export interface MappedPart {
  readonly start: number;
  readonly end: number;
  readonly access: RegisterAccessors;
}

/**
 * Each access goes to memory where a part is mapped, and else to `kernel`, whose offsets count from
 * the start of the region, of `size` bytes. Parts begin and end on pages, so none is crossed by an
 * aligned access; pairs and batches are made one by one, once all of them have been checked.
 */
export function sparseAccess(
  parts: readonly MappedPart[],
  kernel: RegisterAccessors,
  size: number,
): RegisterAccessors {
  let closed = false;
  const whole = { start: 0, access: kernel };
  const at = (offset: number) =>
    parts.find(({ start, end }) => offset >= start && offset < end) ?? whole;

  const read32 = (offset: number) => {
    const { start, access } = at(offset);
    return access.read32(offset - start);
  };
  const write32 = (offset: number, value: number) => {
    const { start, access } = at(offset);
    return access.write32(offset - start, value);
  };
  /** 0 if 32-bit accesses to `bytes` from `offset` on are possible, or -errno: as the addon has it. */
  const refusal = (offset: number, bytes: number) => {
    if (closed) return -EBADF;
    if (!Number.isSafeInteger(offset) || offset < 0) return -EINVAL;
    if (offset + bytes > size) return -ERANGE;
    return offset % 4 === 0 ? 0 : -EINVAL;
  };
  return {
    read8(offset) {
      const { start, access } = at(offset);
      return access.read8(offset - start);
    },
    read16(offset) {
      const { start, access } = at(offset);
      return access.read16(offset - start);
    },
    read32,
    read64(offset) {
      const { start, access } = at(offset);
      return access.read64(offset - start);
    },
    read64LoHi(offset, out) {
      const refused = refusal(offset, 8);
      if (refused < 0) return refused;
      if (!areWords(out, 2)) return -EINVAL;
      const low = read32(offset);
      if (low < 0) return low;
      const high = read32(offset + 4);
      if (high < 0) return high;
      out[0] = low;
      out[1] = high;
      return 0;
    },
    readBatch32(offsets, out) {
      if (closed) return -EBADF;
      if (!areWords(offsets, 0) || !areWords(out, offsets.length)) return -EINVAL;
      // A copy: another thread, or `out` on the same memory, may change it.
      const list = offsets.slice();
      for (const offset of list) {
        const refused = refusal(offset, 4);
        if (refused < 0) return refused;
      }
      for (let i = 0; i < list.length; i++) {
        const value = read32(list[i]!);
        if (value < 0) return value;
        out[i] = value;
      }
      return 0;
    },
    write8(offset, value) {
      const { start, access } = at(offset);
      return access.write8(offset - start, value);
    },
    write16(offset, value) {
      const { start, access } = at(offset);
      return access.write16(offset - start, value);
    },
    write32,
    write64(offset, value) {
      const { start, access } = at(offset);
      return access.write64(offset - start, value);
    },
    write64LoHi(offset, lo, hi) {
      const refused = refusal(offset, 8);
      if (refused < 0) return refused;
      if (!isWord(lo) || !isWord(hi)) return -EINVAL;
      const result = write32(offset, lo);
      return result < 0 ? result : write32(offset + 4, hi);
    },
    close() {
      closed = true;
      for (const { access } of parts) access.close();
      kernel.close();
    },
  };
}

function areWords(words: unknown, length: number): boolean {
  return words instanceof Uint32Array && words.length >= length;
}

/** Of either sign. */
function isWord(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= -(2 ** 31) && (value as number) < 2 ** 32;
}
