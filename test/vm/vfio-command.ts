/** The command as a process, and processes that are in its way. */
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { readPciDevice } from 'vfio';

export const main = join(__dirname, '../../dist/cli.js');

export interface Ran {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export function vfio(...args: string[]): Promise<Ran> {
  return new Promise((resolve) =>
    execFile(process.execPath, [main, ...args], (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}

export const json = async (...args: string[]) => JSON.parse((await vfio(...args, '--json')).out);
export const driverOf = (bdf: string) => readPciDevice(bdf).driver;

const holding = `
  const { openDevice } = require(process.argv[1]);
  openDevice(process.argv[2], JSON.parse(process.argv[3])).then((device) => {
    console.log('open');
    process.stdin.resume().on('end', () => device.close());
  });
`;

/** A process that has a device open, until its input ends. */
export async function holder(
  bdf: string,
  options: { vfToken?: string } = {},
): Promise<ChildProcessWithoutNullStreams> {
  const args = ['-e', holding, join(__dirname, '../..'), bdf, JSON.stringify(options)];
  const child = spawn(process.execPath, args);
  await once(child.stdout, 'data');
  return child;
}

export async function letGo(child: ChildProcessWithoutNullStreams): Promise<void> {
  child.stdin.end();
  await once(child, 'exit');
}
