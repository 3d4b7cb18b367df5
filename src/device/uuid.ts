/** UUIDs as the kernel takes them for VF tokens and mediated devices: any 32 hex digits in that form (uuid_parse). */
const form = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function isUuid(text: unknown): text is string {
  return typeof text === 'string' && form.test(text);
}

/** Its 16 bytes, most significant first. */
export function uuidBytes(uuid: string): Uint8Array {
  return Uint8Array.from(Buffer.from(uuid.replaceAll('-', ''), 'hex'));
}
