/** Findings about what the kernel was built without. */
import { hints } from '../hints';
import { kernelOption } from '../pci/kernel-files';
import type { Fix } from './finding';

/** Where it was seen that all of these are off; undefined if one is on, or nothing tells. */
export function missingOptions(names: readonly string[]): string | undefined {
  const options = names.map(kernelOption);
  if (options.some((option) => option === undefined || option.value !== undefined))
    return undefined;
  return `${options[0]!.file}: no ${names.join(', no ')}`;
}

export function anotherKernel(options: string): Fix {
  return {
    text: hints.anotherKernel(options),
    commands: [],
    risk: 'that of another kernel',
    reboot: true,
  };
}
