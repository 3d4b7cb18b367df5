import type { UapiProbe } from '../device/uapi-probe';
import { since } from '../ioctl/abi/releases';
import { uapi } from '../ioctl/abi/uapi';

/** What `vfio uapi --json` prints. */
export interface UapiDocument {
  readonly ioctls: Readonly<Record<string, number>>;
  readonly structs: Readonly<
    Record<string, { size: number; fields: Record<string, { offset: number; size: number }> }>
  >;
  readonly features: Readonly<Record<string, number>>;
  readonly capabilities: Readonly<Record<string, number>>;
  readonly constants: Readonly<Record<string, number | string>>;
  /** The kernel release that brought each of these names. */
  readonly since: Readonly<Record<string, string>>;
  readonly probe?: UapiProbe;
}

export function uapiDocument(probe?: UapiProbe): UapiDocument {
  const table = uapi();
  const structs = Object.entries(table.structs).map(([name, { size, fields }]) => {
    const places = Object.entries(fields).map(([field, { offset, size }]) => [
      field,
      { offset, size },
    ]);
    return [name, { size, fields: Object.fromEntries(places) }];
  });
  return {
    ioctls: table.ioctls,
    structs: Object.fromEntries(structs),
    features: table.features,
    capabilities: table.capabilities,
    constants: table.constants,
    since: Object.fromEntries(since),
    ...(probe && { probe }),
  };
}
