import { Command } from 'commander';
import { probeUapi, type UapiProbe } from '../device/uapi-probe';
import { since } from '../ioctl/releases';
import { uapi } from '../ioctl/uapi';
import { printError } from './errors';
import { uapiText } from './uapi-text';

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

interface UapiFlags {
  json?: true;
  probe?: string;
}

/** `vfio uapi`: prints the table of the kernel's ABI. */
export function uapiCommand(): Command {
  return new Command('uapi')
    .description('print all of linux/vfio.h and linux/iommufd.h that this package knows')
    .option('--json', 'as one JSON object')
    .option(
      '--probe <BDF>',
      'with what the running kernel has for a device; one bound to vfio-pci is opened, which resets it',
    )
    .action(async (flags: UapiFlags) => {
      process.exitCode = await run(flags);
    });
}

async function run({ json, probe }: UapiFlags): Promise<number> {
  try {
    const document = uapiDocument(probe === undefined ? undefined : await probeUapi(probe));
    process.stdout.write(json ? `${JSON.stringify(document, null, 2)}\n` : uapiText(document));
    return 0;
  } catch (error) {
    printError(error);
    return 1;
  }
}

export function uapiDocument(probe?: UapiProbe): UapiDocument {
  const structs = Object.entries(uapi.structs).map(([name, { size, fields }]) => {
    const places = Object.entries(fields).map(([field, { offset, size }]) => [
      field,
      { offset, size },
    ]);
    return [name, { size, fields: Object.fromEntries(places) }];
  });
  return {
    ioctls: uapi.ioctls,
    structs: Object.fromEntries(structs),
    features: uapi.features,
    capabilities: uapi.capabilities,
    constants: uapi.constants,
    since: Object.fromEntries(since),
    ...(probe && { probe }),
  };
}
