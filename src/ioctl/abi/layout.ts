/** Struct layouts of the kernel's ABI as data, by the C rules that x86-64 and arm64 share. */

export type ScalarType = 'u8' | 'u16' | 'u32' | 's32' | 'u64';
/** A fixed array of bytes, `__u8 name[length]`, or a struct in the struct; `align` is 1 unless told. */
export interface BytesType {
  readonly bytes: number;
  readonly align?: number;
}
/** What follows the struct, `name[]`: no size of its own. `flexible` is the alignment of an element. */
export interface FlexibleType {
  readonly flexible: number;
}
/** Another name of a field before it: the two are a union. */
export interface AliasType {
  readonly aliasOf: string;
}
export type FieldType = ScalarType | BytesType | FlexibleType | AliasType;
export type FieldTypes = Readonly<Record<string, FieldType>>;

export interface Field {
  readonly type: Exclude<FieldType, AliasType>;
  readonly offset: number;
  readonly size: number;
}

type ValueOf<T extends FieldType> = T extends 'u64'
  ? bigint
  : T extends ScalarType
    ? number
    : Uint8Array;

type FieldValue<F extends FieldTypes, K extends keyof F> = F[K] extends {
  readonly aliasOf: infer A extends keyof F;
}
  ? ValueOf<F[A]>
  : ValueOf<F[K]>;

/** A struct in memory: its fields as properties (arrays of bytes are views), and all its bytes. */
export type StructView<F extends FieldTypes> = { -readonly [K in keyof F]: FieldValue<F, K> } & {
  readonly bytes: Uint8Array<ArrayBuffer>;
};

export interface Struct<F extends FieldTypes = FieldTypes> {
  readonly name: string;
  readonly size: number;
  readonly fields: { readonly [K in keyof F]: Field };
  /** Zeroed, with `extra` bytes behind it; `argsz` (iommufd: `size`), where there is one, covers both. */
  create(extra?: number): StructView<F>;
  /** A view of bytes that exist; throws RangeError if they are too few. */
  view(bytes: Uint8Array<ArrayBuffer>): StructView<F>;
}

const sizes: Record<ScalarType, number> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

function measure(type: Field['type']): { size: number; align: number } {
  if (typeof type === 'string') return { size: sizes[type], align: sizes[type] };
  if ('flexible' in type) return { size: 0, align: type.flexible };
  return { size: type.bytes, align: type.align ?? 1 };
}

function layOut(types: FieldTypes): { fields: Record<string, Field>; size: number } {
  const fields: Record<string, Field> = {};
  let offset = 0;
  let alignment = 1;
  for (const [name, type] of Object.entries(types)) {
    if (typeof type === 'object' && 'aliasOf' in type) {
      fields[name] = fields[type.aliasOf]!;
      continue;
    }
    const { size, align } = measure(type);
    offset = Math.ceil(offset / align) * align;
    fields[name] = { type, offset, size };
    offset += size;
    alignment = Math.max(alignment, align);
  }
  return { fields, size: Math.ceil(offset / alignment) * alignment };
}

/** A symbol, so that no field of a struct can have the name (`vfio_bitmap.data`). */
const view = Symbol('view');

interface Raw {
  readonly [view]: DataView;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

function property({ type, offset, size }: Field): PropertyDescriptor & ThisType<Raw> {
  const little = true;
  switch (type) {
    case 'u8':
      return {
        get() {
          return this[view].getUint8(offset);
        },
        set(value: number) {
          this[view].setUint8(offset, value);
        },
      };
    case 'u16':
      return {
        get() {
          return this[view].getUint16(offset, little);
        },
        set(value: number) {
          this[view].setUint16(offset, value, little);
        },
      };
    case 'u32':
      return {
        get() {
          return this[view].getUint32(offset, little);
        },
        set(value: number) {
          this[view].setUint32(offset, value, little);
        },
      };
    case 's32':
      return {
        get() {
          return this[view].getInt32(offset, little);
        },
        set(value: number) {
          this[view].setInt32(offset, value, little);
        },
      };
    case 'u64':
      return {
        get() {
          return this[view].getBigUint64(offset, little);
        },
        set(value: bigint) {
          this[view].setBigUint64(offset, value, little);
        },
      };
    default:
      return {
        get() {
          return this.bytes.subarray(offset, 'flexible' in type ? undefined : offset + size);
        },
        set(value: Uint8Array) {
          const length = 'flexible' in type ? this.bytes.length - offset : size;
          if (value.length !== length) throw new RangeError(`expected ${length} bytes`);
          this.bytes.set(value, offset);
        },
      };
  }
}

type ViewClass = new (bytes: Uint8Array<ArrayBuffer>) => Raw;

function viewClass(name: string, size: number, fields: Record<string, Field>): ViewClass {
  class View implements Raw {
    readonly [view]: DataView;
    constructor(readonly bytes: Uint8Array<ArrayBuffer>) {
      if (bytes.length < size) throw new RangeError(`${name}: ${bytes.length} bytes of ${size}`);
      this[view] = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
  }
  for (const [field, layout] of Object.entries(fields)) {
    Object.defineProperty(View.prototype, field, { ...property(layout), enumerable: true });
  }
  return View;
}

/** Define a struct by its C name and its fields in order. */
export function struct<const F extends FieldTypes>(name: string, types: F): Struct<F> {
  const { fields, size } = layOut(types);
  const sizeField = fields.argsz ?? (fields.size?.offset === 0 ? fields.size : undefined);
  // Most structs are never used by a program.
  let View: ViewClass | undefined;
  const make = (bytes: Uint8Array<ArrayBuffer>) => {
    View ??= viewClass(name, size, fields);
    return new View(bytes) as unknown as StructView<F>;
  };

  return {
    name,
    size,
    fields: fields as { readonly [K in keyof F]: Field },
    view: make,
    create(extra = 0) {
      const bytes = new Uint8Array(size + extra);
      if (sizeField) {
        new DataView(bytes.buffer).setUint32(sizeField.offset, bytes.length, true);
      }
      return make(bytes);
    },
  };
}
