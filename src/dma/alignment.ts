/** Alignments: bytes, powers of two. */
import { shown, VfioError } from '../errors';

export function isAlignment(value: unknown): boolean {
  return typeof value === 'number' && value >= 1 && Number.isSafeInteger(Math.log2(value));
}

/** @throws ERR_VFIO_INVALID_ARGUMENT */
export function assertAlignment(value: number): void {
  if (isAlignment(value)) return;
  throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `alignment is no power of two: ${shown(value)}`);
}
