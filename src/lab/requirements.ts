import { LabError } from './errors';

/** @throws LabError `LAB_SETUP` on a machine whose programs no lab can run */
export function requireMachine(): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new LabError('LAB_SETUP', 'the lab needs a Linux machine with an x86-64 CPU', {
      hint: 'its guest runs the programs of the machine itself',
    });
  }
}
