/** VF tokens: the secret that the owner of a PF shares with the owners of its VFs. */
import { parse, validate } from 'uuid';
import { VfioError } from '../errors';
import { hints } from '../hints';

/** The token's 16 bytes, most significant first, as VFIO_DEVICE_FEATURE takes it. @throws ERR_VFIO_INVALID_UUID */
export function vfTokenBytes(token: string): Uint8Array {
  if (!validate(token)) {
    // The token is a secret: not even a mistyped one belongs in a log.
    throw new VfioError('ERR_VFIO_INVALID_UUID', 'the VF token is no UUID', {
      hint: hints.badUuid(),
    });
  }
  return parse(token);
}
