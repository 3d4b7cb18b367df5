/** Program: what an NVMe controller and its namespaces say of themselves. */
import { openDevice } from 'vfio';
import { runProgram, UsageError } from '../program';
import { Controller } from './controller';

const USAGE = `Usage: node identify.js BDF [--vf-token UUID]

Print what an NVMe controller and its namespaces say of themselves.
BDF is the device's PCI address, such as 0000:02:00.0; it must be bound to vfio-pci.

  --vf-token UUID  the token of a function with SR-IOV
  -h, --help       show this

Exit codes: 0 done, 1 failed, 2 wrong arguments.`;

const MIB = 1 << 20;

async function identify(controller: Controller): Promise<void> {
  const { capabilities } = controller;
  const identity = await controller.identify();
  console.log(`${identity.model}, serial ${identity.serial}, firmware ${identity.firmware}`);
  console.log(`subsystem  ${identity.qualifiedName}, controller ${identity.controllerId}`);
  console.log(`version    ${identity.version}`);
  console.log(`transfer   ${identity.maxTransfer} bytes a command`);
  console.log(`queues     ${controller.maxQueues}, of up to ${capabilities.maxEntries} entries`);
  console.log(`cache      ${identity.volatileCache ? 'volatile' : 'none'}`);
  for (const id of await controller.namespaces()) {
    const { size, blockBytes, metadataBytes } = await controller.identifyNamespace(id);
    const mib = Number(size) * (blockBytes / MIB);
    const metadata = metadataBytes === 0 ? '' : ` and ${metadataBytes} of metadata`;
    console.log(`namespace ${id}: ${size} blocks of ${blockBytes} bytes${metadata}, ${mib} MiB`);
  }
}

async function main(
  options: Readonly<Record<string, string | undefined>>,
  positionals: string[],
): Promise<void> {
  const [bdf, ...rest] = positionals;
  if (bdf === undefined || rest.length > 0) throw new UsageError('expected one argument, BDF');
  const vfToken = options['vf-token'];
  const device = await openDevice(bdf, vfToken === undefined ? {} : { vfToken });
  try {
    const controller = await Controller.start(device);
    await identify(controller);
    await controller.stop();
  } finally {
    await device.close();
  }
}

void runProgram(
  { name: 'identify', usage: USAGE, options: { 'vf-token': { type: 'string' } } },
  main,
);
