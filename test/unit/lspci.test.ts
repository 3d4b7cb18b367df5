import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { decodeConfigSpace } from 'vfio';
import { randomBridge, randomConfigSpace } from '../lspci/arbitrary';
import { differences } from '../lspci/compare';
import { byAddress, lspciInstalled, lspciOf, parseDump } from '../lspci/dump';

const fixture = (name: string) => readFileSync(join(__dirname, '../fixtures/pci', name), 'utf8');

/** Written by lspci 3.9.0: of the lab's devices, and of samples of ../lspci/arbitrary. */
describe.each(['lab', 'random'])('lspci -vvv says the same of the dumps in %s', (name) => {
  const lspci = byAddress(fixture(`${name}.lspci`));
  test.each([...parseDump(fixture(`${name}.dump`))])('%s', (bdf, bytes) => {
    const config = decodeConfigSpace(bytes);
    expect(differences(config, lspci.get(bdf)!)).toEqual([]);
    expect(config.problems).toEqual([]);
  });
});

(lspciInstalled ? describe : describe.skip)(
  'lspci -vvv, run here, says the same of registers at random',
  () => {
    test.each([
      ['an endpoint with all capabilities', randomConfigSpace],
      ['a bridge', randomBridge],
    ])('of %s', (_, arbitrary) => {
      const spaces = fc.sample(arbitrary, { numRuns: 200, seed: 1 });
      const devices = new Map(
        spaces.map((bytes, n) => [`0000:${n.toString(16).padStart(2, '0')}:00.0`, bytes]),
      );
      const lspci = lspciOf(devices);
      for (const [bdf, bytes] of devices) {
        const config = decodeConfigSpace(bytes);
        expect(config.problems).toEqual([]);
        expect(differences(config, lspci.get(bdf)!)).toEqual([]);
      }
    });
  },
);
if (!lspciInstalled) process.stderr.write('lspci is not installed: no comparison at random\n');
