/** Stands in for src/native.ts: `jest.mock('../../src/native', () => require('./fake-native'))`. */
import type { NativeAddon } from '../../src/native';
import { FakeKernel } from './fake-kernel';

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MEMORY_ANONYMOUS = 0;
export const MEMORY_FILE = 1;
export const MEMORY_DEVICE = 2;

let kernel = new FakeKernel();

/** A fresh kernel behind `native`. */
export function bootFakeKernel(): FakeKernel {
  kernel = new FakeKernel();
  return kernel;
}

export const native: NativeAddon = new Proxy({} as NativeAddon, {
  get: (_, name: keyof NativeAddon) => kernel.native[name],
});
