/** Runs in the guest of hot-reset.test.ts: two functions of one slot, which are in a group each. */
const { existsSync, readdirSync } = require('node:fs');
const { bindDriver, openDevice, readPciDevice } = require('../../../dist/src/index.js');

const say = (what, value) => console.log(JSON.stringify([what, value]));

/** LED control of the 82576 (datasheet, 8.2.9): a reset sets it to its default. */
const LEDCTL = 0x0e00;

const refusal = (resetting) =>
  resetting.then(
    () => 'done',
    ({ code, hint }) => [code, hint.slice(hint.indexOf('in the way'))],
  );

async function resetBy(backend, [first, second]) {
  const a = await openDevice(first, { backend });
  say(`${backend} alone`, a.hotResetDevices());
  say(`${backend} refused`, await refusal(a.hotReset()));
  // By iommufd, it has to be the same one.
  const sibling = backend === 'iommufd' ? { addressSpace: a.dma.sibling() } : {};
  const b = await openDevice(second, { backend, ...sibling });
  say(
    `${backend} both`,
    a.hotResetDevices().map(({ blocker }) => blocker ?? 'ready'),
  );
  const registers = [a, b].map((dev) => dev.region('bar0'));
  const initial = registers.map((bar) => bar.read32(LEDCTL));
  for (const bar of registers) bar.write32(LEDCTL, 0);
  say(`${backend} reset`, await refusal(a.hotReset()));
  say(
    `${backend} registers`,
    registers.map((bar, i) => bar.read32(LEDCTL) === initial[i]),
  );
  await Promise.all([a.close(), b.close()]);
}

(async () => {
  const functions = readdirSync('/sys/bus/pci/devices')
    .sort()
    .map(readPciDevice)
    .filter(({ device }) => device === 0x10c9);
  say('groups', new Set(functions.map(({ iommuGroup }) => iommuGroup)).size);
  const addresses = functions.map(({ bdf }) => bdf);
  for (const bdf of addresses) await bindDriver(bdf);
  await resetBy('group', addresses);
  if (existsSync('/dev/iommu')) await resetBy('iommufd', addresses);
})();
