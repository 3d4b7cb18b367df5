/** Memory of JavaScript that may be given to devices: it neither moves nor is freed while it is referenced. */
import { VfioError } from '../errors';
import { native } from '../native';
import type { ProcessMemory } from './backing';

export type SharedMemory = Uint8Array<SharedArrayBuffer>;

/**
 * The properties that the engine itself knows of a view: an object may have others of the same names,
 * of its own or of a subclass.
 */
const { apply } = Reflect;
const view = Object.getPrototypeOf(Uint8Array.prototype) as object;
const kindOf = getter<string>(view, Symbol.toStringTag);
const bufferOf = getter<unknown>(view, 'buffer');
const lengthOf = getter<number>(view, 'byteLength');
/** It throws for what is no SharedArrayBuffer, of this realm or another. */
const sharedLength = getter<number>(SharedArrayBuffer.prototype, 'byteLength');

function getter<T>(owner: object, name: PropertyKey): (of: unknown) => T {
  const { get } = Object.getOwnPropertyDescriptor(owner, name)!;
  return (of) => apply(get!, of, []);
}

/**
 * Where the memory is, and how long it is now.
 * @throws ERR_VFIO_INVALID_ARGUMENT for memory that is not shared, or not whole pages
 */
export function sharedMemory(memory: SharedMemory): ProcessMemory {
  if (!ArrayBuffer.isView(memory) || kindOf(memory) !== 'Uint8Array' || !isShared(memory)) {
    throw invalid(
      'is no Uint8Array on a SharedArrayBuffer',
      'an ArrayBuffer can be transferred away under a device',
    );
  }
  const size = lengthOf(memory);
  const vaddr = native.memoryAddress(memory);
  if (typeof vaddr === 'number') throw invalid('has no address', 'it has no bytes, perhaps');
  if (vaddr % BigInt(native.pageSize) !== 0n || size % native.pageSize !== 0 || size === 0) {
    throw invalid(
      `is not made of whole pages of ${native.pageSize} bytes`,
      'new WebAssembly.Memory({ shared: true, initial, maximum }).buffer is page-aligned',
    );
  }
  return { vaddr, size, owner: memory };
}

function isShared(memory: unknown): boolean {
  try {
    sharedLength(bufferOf(memory));
    return true;
  } catch {
    return false;
  }
}

function invalid(why: string, hint: string): VfioError {
  return new VfioError('ERR_VFIO_INVALID_ARGUMENT', `the memory to map ${why}`, { hint });
}
