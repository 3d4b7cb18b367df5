/** Names for registers and their fields, from a JSON file, and reading a device by them. */
import { VfioError } from '../errors';

/** A register by name, with its offset in bytes and its width in bits. */
export interface NamedRegister {
  readonly name: string;
  readonly offset: number;
  readonly bits: 8 | 16 | 32;
  readonly fields: readonly BitField[];
}

export interface BitField {
  readonly name: string;
  readonly high: number;
  readonly low: number;
}

/** What registers are read from: a `Region`, or bytes of config space. */
export interface RegisterSource {
  readonly size: number;
  read8(offset: number): number;
  read16(offset: number): number;
  read32(offset: number): number;
}

export function readRegister(source: RegisterSource, { offset, bits }: NamedRegister): number {
  if (bits === 8) return source.read8(offset);
  return bits === 16 ? source.read16(offset) : source.read32(offset);
}

export function fieldValue(register: number, { high, low }: BitField): number {
  return Math.floor(register / 2 ** low) % 2 ** (high - low + 1);
}

function malformed(problem: string): VfioError {
  return new VfioError('ERR_VFIO_MALFORMED', `register map: ${problem}`, {
    hint:
      'a map looks like {"STATUS": {"offset": "0x8", "bits": 32, "fields": {"LU": 1, "SPEED": "7:6"}}}; ' +
      'short: {"STATUS": "0x8"}',
  });
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseField(register: string, bits: number, name: string, place: unknown): BitField {
  const match = /^(\d{1,2})(?::(\d{1,2}))?$/.exec(String(place));
  const high = Number(match?.[1]);
  const low = match?.[2] === undefined ? high : Number(match[2]);
  if (match && low <= high && high < bits) return { name, high, low };
  throw malformed(`${register}.${name} is ${JSON.stringify(place)}, no bits of ${bits}`);
}

function parseRegister(name: string, value: unknown): NamedRegister {
  const { offset, bits = 32, fields = {} } = isObject(value) ? value : { offset: value };
  const place = typeof offset === 'string' && offset.trim() !== '' ? Number(offset) : offset;
  if (typeof place !== 'number' || !Number.isSafeInteger(place) || place < 0) {
    throw malformed(`${name} has the offset ${JSON.stringify(offset)}`);
  }
  if (bits !== 8 && bits !== 16 && bits !== 32) {
    throw malformed(`${name} has ${JSON.stringify(bits)} bits, not 8, 16 or 32`);
  }
  if (place % (bits / 8) !== 0) throw malformed(`${name} is not aligned to its ${bits} bits`);
  if (!isObject(fields)) throw malformed(`${name} has fields that are no object`);
  const parts = Object.entries(fields).map(([field, at]) => parseField(name, bits, field, at));
  return { name, offset: place, bits, fields: parts };
}

/**
 * Registers of a map: `{"CTRL": "0x0", "STATUS": {"offset": 8, "bits": 32, "fields": {"SPEED": "7:6"}}}`,
 * fields by bit or by highest and lowest bit, as datasheets have them.
 * @throws ERR_VFIO_MALFORMED
 */
export function parseRegisterMap(text: string): NamedRegister[] {
  let map: unknown;
  try {
    map = JSON.parse(text);
  } catch (error) {
    throw malformed((error as Error).message);
  }
  if (!isObject(map)) throw malformed('not an object');
  return Object.entries(map).map(([name, value]) => parseRegister(name, value));
}

/** The registers without names from `offset` on: 32 bits each, called by their offsets. */
export function unnamedRegisters(offset: number, count: number): NamedRegister[] {
  return Array.from({ length: count }, (_, i) => {
    const at = offset + i * 4;
    return { name: `0x${at.toString(16).padStart(4, '0')}`, offset: at, bits: 32, fields: [] };
  });
}
