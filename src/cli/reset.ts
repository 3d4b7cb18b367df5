import { Command } from 'commander';
import { type ResetOptions, resetDevice } from '../device/reset';
import { parseBdf } from '../pci/address';
import { jsonText, type Output } from './output';
import { run, status } from './run';

/** `vfio reset BDF`: one function, no other. */
export function resetCommand(output: Output = process.stdout): Command {
  return new Command('reset')
    .description('reset one function of a device')
    .argument('<BDF>', 'PCI address, 0000:01:00.0')
    .option('--force', 'also under a kernel driver, which loses what it has under way')
    .option('--vf-token <UUID>', 'the VF token to open the device with')
    .option('--json', 'as a JSON object')
    .action((address: string, { json, ...options }: ResetOptions & { json?: true }) =>
      run({ output, json }, async () => {
        const bdf = parseBdf(address);
        const method = (await resetDevice(bdf, options)) ?? null;
        const text = `${bdf} was reset${method === null ? '' : ` (${method})`}\n`;
        output.write(json ? jsonText({ bdf, method }) : text);
        return status.ok;
      }),
    );
}
