/** Memory of JavaScript that may be given to devices: it neither moves nor is freed while it is referenced. */
import { VfioError } from '../errors';
import { native } from '../native';

export type SharedMemory = Uint8Array<SharedArrayBuffer>;

/** @throws ERR_VFIO_INVALID_ARGUMENT for memory that is not shared, or not whole pages */
export function sharedAddress(memory: SharedMemory): bigint {
  if (!(ArrayBuffer.isView(memory) && isShared(memory.buffer))) {
    throw invalid(
      'is no Uint8Array on a SharedArrayBuffer',
      'an ArrayBuffer can be transferred away under a device',
    );
  }
  const address = native.memoryAddress(memory);
  if (typeof address === 'number') throw invalid('has no address', '');
  const page = BigInt(native.pageSize);
  if (
    address % page !== 0n ||
    memory.byteLength % native.pageSize !== 0 ||
    memory.byteLength === 0
  ) {
    throw invalid(
      `is not made of whole pages of ${native.pageSize} bytes`,
      'new WebAssembly.Memory({ shared: true, initial, maximum }).buffer is page-aligned',
    );
  }
  return address;
}

/** Not instanceof: it may come from another realm. */
function isShared(buffer: unknown): boolean {
  return Object.prototype.toString.call(buffer) === '[object SharedArrayBuffer]';
}

function invalid(why: string, hint: string): VfioError {
  return new VfioError('ERR_VFIO_INVALID_ARGUMENT', `the memory to map ${why}`, { hint });
}
