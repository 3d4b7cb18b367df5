/** Registers of a region of which only parts are mapped (VFIO_REGION_INFO_CAP_SPARSE_MMAP). */
import type { RegisterAccessors } from '../native';

/** A part that is mapped: [start, end) of the region, with accessors that count from its start. */
export interface MappedPart {
  readonly start: number;
  readonly end: number;
  readonly access: RegisterAccessors;
}

/**
 * Each access goes to memory where a part is mapped, and else to `kernel`, whose offsets count from
 * the start of the region. Parts begin and end on pages, so none is crossed by an aligned access.
 */
export function sparseAccess(
  parts: readonly MappedPart[],
  kernel: RegisterAccessors,
): RegisterAccessors {
  const whole = { start: 0, access: kernel };
  const at = (offset: number) =>
    parts.find(({ start, end }) => offset >= start && offset < end) ?? whole;

  const read32 = (offset: number) => {
    const { start, access } = at(offset);
    return access.read32(offset - start);
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
      const { start, access } = at(offset);
      return access.read64LoHi(offset - start, out);
    },
    readBatch32(offsets, out) {
      for (let i = 0; i < offsets.length; i++) {
        const value = read32(offsets[i]!);
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
    write32(offset, value) {
      const { start, access } = at(offset);
      return access.write32(offset - start, value);
    },
    write64(offset, value) {
      const { start, access } = at(offset);
      return access.write64(offset - start, value);
    },
    write64LoHi(offset, lo, hi) {
      const { start, access } = at(offset);
      return access.write64LoHi(offset - start, lo, hi);
    },
    close() {
      for (const { access } of parts) access.close();
      kernel.close();
    },
  };
}
