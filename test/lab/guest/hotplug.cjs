/**
 * Runs in the guest of hotplug.test.ts: tells what it sees, a line each; on a line `hmp: COMMAND` the
 * host gives QEMU's monitor that command.
 */
const { existsSync, openSync, readdirSync, readlinkSync, readSync, writeSync } = require('node:fs');
const { bindDriver, openDevice, readPciDevice } = require('vfio');

const say = (...words) => console.log(words.join(' '));
const turn = () => new Promise((resolve) => setTimeout(resolve, 10));

function find(device) {
  return readdirSync('/sys/bus/pci/devices')
    .sort()
    .map(readPciDevice)
    .filter((pci) => pci.device === device);
}

async function until(condition) {
  while (!condition()) await turn();
}

async function gone({ path }) {
  await until(() => !existsSync(path));
}

/** An uncorrectable error that the device reports to the kernel (AER). */
async function error(pci) {
  const dev = await openDevice(pci.bdf);
  const reported = new Promise((resolve) => dev.on('error', resolve));
  await until(() => dev.irq('err').enabled.length > 0);
  say('hmp: pcie_aer_inject_error igb0-port POISON_TLP');
  say('error:', JSON.stringify(await reported));
  await dev.reset();
  say('error: reset, and the device answers', dev.region('bar0').read32(8) !== 0xffff_ffff);
  await dev.close();
}

/** An unplug that waits for whoever has the device open. */
async function request(pci, id) {
  const dev = await openDevice(pci.bdf);
  const requested = new Promise((resolve) => dev.on('request', resolve));
  say(`hmp: device_del ${id}`);
  await requested;
  say('request: closed', dev.closed, 'there', existsSync(pci.path));
  await dev.close();
  await gone(pci);
  say('request: gone');
}

async function requestByDefault(pci, id) {
  const dev = await openDevice(pci.bdf);
  dev.enableBusMaster();
  await dev.irq('msix').enable([0, 1]);
  dev.region('bar0').read32(8);
  await dev.dma.alloc(1 << 20);
  say(`hmp: device_del ${id}`);
  await gone(pci);
  say('default: closed', dev.closed, 'gone');
}

/** PCI Express base specification, 7.5.3.10: the control register of a slot. */
const SLTCTL = 0x18;
const HOTPLUG_INTERRUPT = 1 << 5;
const INDICATOR_OFF = 3 << 8;
const POWER_OFF = 1 << 10;

/**
 * Switch the power of the device's slot off and on again, by the config space of the port above. The
 * kernel gets to know it when the interrupt is on again, and sees a slot with power and no device.
 */
function pull({ path }) {
  const fd = openSync(`${path}/../config`, 'r+');
  const bytes = Buffer.alloc(2);
  const read = (offset) => {
    readSync(fd, bytes, 0, 2, offset);
    return bytes.readUInt16LE();
  };
  const write = (offset, value) => {
    bytes.writeUInt16LE(value);
    writeSync(fd, bytes, 0, 2, offset);
  };
  let capability = read(0x34) & 0xff;
  while ((read(capability) & 0xff) !== 0x10) capability = read(capability) >> 8;
  const at = capability + SLTCTL;
  const control = read(at);
  write(at, (control | POWER_OFF | INDICATOR_OFF) & ~HOTPLUG_INTERRUPT);
  write(at, control);
}

/** What reading a register gives, which may be nothing, but no crash. */
function answer(region, offset) {
  try {
    const value = region.read32(offset);
    return value === 0 || value === 0xffff_ffff ? 'nothing' : value.toString(16);
  } catch ({ code }) {
    return code === 'EIO' ? 'nothing' : code;
  }
}

/** A device in use is pulled out. */
async function surprise(pci) {
  const dev = await openDevice(pci.bdf);
  const bar = dev.region('bar0');
  bar.read32(8);
  await dev.irq('msix').enable([0]);
  let requests = 0;
  dev.on('request', () => {
    requests += 1;
  });
  pull(pci);
  await until(() => dev.config.read16(6) === 0xffff);
  say('surprise: status', dev.config.read16(6).toString(16));
  say('surprise: register', answer(bar, 8));
  await until(() => requests > 0);
  say('surprise: requested');
  await dev.reset().then(
    () => say('surprise: reset'),
    ({ code }) => say('surprise: reset', code),
  );
  await dev.close();
  await gone(pci);
  say('surprise: gone');
}

(async () => {
  // ERR and REQ do not keep a process alive.
  const alive = setInterval(() => {}, 1000);
  const [igb] = find(0x10c9);
  const nvmes = find(0x0010);
  for (const { bdf } of [igb, ...nvmes]) await bindDriver(bdf);
  await error(igb);
  await request(nvmes[0], 'nvme0');
  await requestByDefault(nvmes[1], 'nvme1');
  await surprise(nvmes[2]);
  say('left:', readdirSync('/proc/self/fd').filter(ofVfio).length);
  clearInterval(alive);
})();

function ofVfio(fd) {
  try {
    return /^(\/dev\/(vfio|iommu)|anon_inode:.*vfio)/.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    // That of the listing itself.
    return false;
  }
}
