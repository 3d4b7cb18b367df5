/**
 * 32-bit registers as words of a typed array, without a call into the addon.
 *
 * Of what JavaScript can do to memory, two things are exactly one access of their width in every
 * tier of V8 (the lab's width test watches it): `Atomics.load`, and a plain store. Plain loads are
 * narrowed, merged, dropped and repeated by the optimiser, and `Atomics.store` reads, too (xchg).
 *
 * A plain store comes after earlier stores, and a load before later ones, because x86-64 keeps that
 * order for the cacheable memory of DMA and the uncacheable memory of a BAR. Other architectures
 * need barriers that JavaScript does not have, so there every access goes through the addon.
 */
import { native } from '../native';

export interface DirectWords {
  /** Length 0: every access goes through the addon. Never handed out of the region. */
  readonly words: Uint32Array;
  /** `lost[0]` is 1 when the device has not answered, and its words are not to be believed. */
  readonly lost: Uint8Array;
  /** The same byte by another view, which no optimiser takes for it: for a second look, after a store. */
  readonly lostAfter: Uint8Array;
}

const ORDERED = process.arch === 'x64';
/** Registers come first in a BAR; what lies beyond is memory, and V8 counts what it has a view of. */
const DIRECT_BYTES = 16 << 20;

/** @param range of the addon, with all of the region mapped; `size` in bytes */
export function directWords(range: number | undefined, size: number): DirectWords {
  const none = { words: new Uint32Array(), lost: new Uint8Array(), lostAfter: new Uint8Array() };
  const length = Math.min(size, DIRECT_BYTES) >>> 2;
  if (range === undefined || !ORDERED || length === 0) return none;
  const memory = native.rangeBuffer(range, 0, length * 4);
  // A region may be only readable, or only writable.
  if (typeof memory === 'number') return none;
  const lost = native.rangeLost(range);
  if (typeof lost === 'number') return none;
  return {
    words: new Uint32Array(memory),
    lost: new Uint8Array(lost),
    lostAfter: new Uint8Array(lost),
  };
}
