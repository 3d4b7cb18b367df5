/** Typed names for registers: what may be done to one is in its type, and its value is its offset. */
import type { Region } from './region';

declare const access: unique symbol;

/** What the datasheet calls RO, RW, WO, RW1C and RC. */
export type RegisterAccess =
  | 'readOnly'
  | 'readWrite'
  | 'writeOnly'
  | 'writeOneToClear'
  | 'readToClear';

/** Byte offset of a 32-bit register. */
export type Register<A extends RegisterAccess = RegisterAccess> = number & {
  readonly [access]: A;
};

type Groups = { readonly [A in RegisterAccess]?: Readonly<Record<string, number>> };
type Named<G extends Groups, A extends keyof G & RegisterAccess> = {
  readonly [Name in keyof G[A]]: Register<A>;
};
type Intersection<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void
  ? I
  : never;
export type RegisterMap<G extends Groups> = Intersection<
  { [A in keyof G & RegisterAccess]: Named<G, A> }[keyof G & RegisterAccess]
>;

/**
 * A register map: offsets by name, grouped by what may be done to them. The result is a frozen
 * object of numbers, so that in compiled code a name costs what a literal does.
 * @throws RangeError for an offset that is not a multiple of 4
 */
export function defineRegisters<const G extends Groups>(groups: G): RegisterMap<G> {
  const map: Record<string, number> = {};
  for (const group of Object.values(groups)) {
    for (const [name, offset] of Object.entries(group)) {
      if (!Number.isSafeInteger(offset / 4) || offset < 0) {
        throw new RangeError(`register ${name}: ${offset} is not a multiple of 4`);
      }
      if (name in map) throw new RangeError(`register ${name} is defined twice`);
      map[name] = offset;
    }
  }
  return Object.freeze(map) as unknown as RegisterMap<G>;
}

/** The registers of a region by such names. Each call is one access, except `modify`, which is two. */
export class Registers {
  constructor(private readonly region: Pick<Region, 'read32' | 'write32'>) {}

  read(register: Register<'readOnly' | 'readWrite' | 'writeOneToClear'>): number {
    return this.region.read32(register);
  }

  /** The value, which the device forgets. */
  take(register: Register<'readToClear'>): number {
    return this.region.read32(register);
  }

  write(register: Register<'readWrite' | 'writeOnly'>, value: number): void {
    this.region.write32(register, value);
  }

  /** Clear the bits that are 1 in `bits`, and no others. */
  acknowledge(register: Register<'writeOneToClear'>, bits: number): void {
    this.region.write32(register, bits);
  }

  /** Read, then write with the bits of `mask` replaced by those of `bits`. */
  modify(register: Register<'readWrite'>, mask: number, bits: number): void {
    this.region.write32(register, (this.region.read32(register) & ~mask) | (bits & mask));
  }
}
