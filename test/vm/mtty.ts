/** The kernel's sample of a serial port (samples/vfio-mdev/mtty.c): what is written to it can be read from it. */
import { createMdev, type Device, type OpenOptions, openDevice, removeMdev } from 'vfio';

/** Registers of a 16550A in BAR 0. */
const DATA = 0;
const LCR = 3;
const LSR = 5;
const LSR_DATA_READY = 1;

const made: string[] = [];

export async function openMtty(options: OpenOptions = {}): Promise<Device> {
  const uuid = await createMdev({ parent: 'mtty', id: 'mtty-1' });
  made.push(uuid);
  return openDevice(uuid, options);
}

/** To be called after each test, with the devices closed. */
export async function removeMttys(): Promise<void> {
  await Promise.all(made.splice(0).map((uuid) => removeMdev(uuid)));
}

export function say(device: Device, text: string): void {
  const bar = device.region('bar0');
  bar.write8(LCR, 3);
  for (const byte of Buffer.from(text)) bar.write8(DATA, byte);
}

/** All that can be read now. */
export function hear(device: Device): string {
  const bar = device.region('bar0');
  const bytes: number[] = [];
  while (bytes.length < 64 && bar.read8(LSR) & LSR_DATA_READY) bytes.push(bar.read8(DATA));
  return Buffer.from(bytes).toString();
}
