/** Which PCI functions the drivers are for. */
import type { Device } from 'vfio';
import { DriverError } from './errors';

const INTEL = 0x8086;
/** 82576 with copper PHY. */
export const PF_DEVICE_ID = 0x10c9;
export const VF_DEVICE_ID = 0x10ca;

export function assert82576(device: Device, deviceId: number): void {
  const vendor = device.config.read16(0);
  const id = device.config.read16(2);
  if (vendor === INTEL && id === deviceId) return;
  const hex = (value: number) => value.toString(16).padStart(4, '0');
  throw new DriverError(
    `${device.bdf} is ${hex(vendor)}:${hex(id)}, not an 82576 ${deviceId === VF_DEVICE_ID ? 'VF' : 'PF'} (${hex(INTEL)}:${hex(deviceId)})`,
    'lspci -nn lists the devices',
  );
}
