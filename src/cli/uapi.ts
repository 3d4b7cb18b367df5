import { Command } from 'commander';
import { probeUapi } from '../device/uapi-probe';
import { printableLines } from '../printable';
import { jsonText } from './output';
import { run, status } from './run';
import { uapiDocument } from './uapi-document';
import { uapiText } from './uapi-text';

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
    .action(({ json, probe }: UapiFlags) =>
      run({ output: process.stdout, json }, async () => {
        const document = uapiDocument(probe === undefined ? undefined : await probeUapi(probe));
        process.stdout.write(json ? jsonText(document) : printableLines(uapiText(document)));
        return status.ok;
      }),
    );
}
