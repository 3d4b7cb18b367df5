import { Command } from 'commander';
import { type ResetOptions, resetDevice } from '../device/reset';
import { parseBdf } from '../pci/address';
import { jsonText, type Output } from './output';
import { run, status } from './run';
import { type VfTokenFlags, vfTokenOf, withVfToken } from './vf-token';

interface ResetFlags extends Pick<ResetOptions, 'force'>, VfTokenFlags {
  readonly json?: true;
}

/** `vfio reset BDF`: one function, no other. */
export function resetCommand(output: Output = process.stdout): Command {
  const command = new Command('reset')
    .description('reset one function of a device')
    .argument('<BDF>', 'PCI address, 0000:01:00.0')
    .option('--force', 'also while it or a VF of it is in use, which loses what it has under way');
  return withVfToken(command, 'the VF token to open the device with')
    .option('--json', 'as a JSON object')
    .action((address: string, { json, force, ...flags }: ResetFlags) =>
      run({ output, json }, async () => {
        const bdf = parseBdf(address);
        const options = { ...(force ? { force } : {}), ...vfTokenOf(flags) };
        const method = (await resetDevice(bdf, options)) ?? null;
        const text = `${bdf} was reset${method === null ? '' : ` (${method})`}\n`;
        output.write(json ? jsonText({ bdf, method }) : text);
        return status.ok;
      }),
    );
}
