/** Identify a controller and its first namespace. */
import { openDevice } from 'vfio';
import { runProgram, UsageError } from '../program';
import { NvmeController } from './controller';

const USAGE = `Usage: node identify.js BDF [--vf-token UUID]

Tell what an NVMe controller that is bound to vfio-pci says of itself.
With a token: a VF of a PF whose driver has set it, or that PF.`;

async function main(vfToken: string | undefined, positionals: string[]): Promise<void> {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const device = await openDevice(bdf, vfToken === undefined ? {} : { vfToken });
  try {
    const controller = await NvmeController.start(device);
    const info = await controller.identify();
    console.log(`${bdf}: ${info.model}, serial ${info.serial}, firmware ${info.firmware}`);
    console.log(`namespaces: up to ${info.namespaces}; transfers: up to ${info.maxTransfer} bytes`);
    const { blocks, blockBytes } = await controller.identifyNamespace();
    console.log(`namespace 1: ${blocks} blocks of ${blockBytes} bytes`);
  } finally {
    await device.close();
  }
}

void runProgram(
  { name: 'identify', usage: USAGE, options: { 'vf-token': { type: 'string' } } },
  (options, positionals) => main(options['vf-token'], positionals),
);
