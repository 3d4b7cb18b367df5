/** VF tokens: the secret that the owner of a PF shares with the owners of its VFs. */
import { VfioError } from '../errors';
import { hints } from '../hints';
import { isUuid, uuidBytes } from './uuid';

/** The token's 16 bytes, most significant first, as VFIO_DEVICE_FEATURE takes it. @throws ERR_VFIO_INVALID_UUID */
export function vfTokenBytes(token: string): Uint8Array {
  if (!isUuid(token)) {
    // The token is a secret: not even a mistyped one belongs in a log.
    throw new VfioError('ERR_VFIO_INVALID_UUID', 'the VF token is no UUID', {
      hint: hints.badUuid(),
    });
  }
  return uuidBytes(token);
}
