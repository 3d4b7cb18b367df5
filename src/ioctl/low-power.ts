/** Features of VFIO_DEVICE_FEATURE about low power. */
import * as c from './abi/constants';
import { vfio_device_low_power_entry_with_wakeup } from './abi/low-power-structs';
import { deviceFeature } from './device';

const none = new Uint8Array();

/**
 * Feature 3: the device may be put into the lowest state that the platform has for it, from the end of
 * this request on; an access to it ends that for its time.
 * @throws EINVAL if it has entered already, ENOTTY before Linux 6.1
 */
export function deviceFeatureLowPowerEntry(fd: number): void {
  const flags = c.VFIO_DEVICE_FEATURE_SET;
  deviceFeature(fd, c.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, flags, none);
}

/** Feature 4: as feature 3, until the device resumes for whatever reason: that is the exit, and signals `eventfd`. */
export function deviceFeatureLowPowerEntryWithWakeup(fd: number, eventfd: number): void {
  const arg = vfio_device_low_power_entry_with_wakeup.create();
  arg.wakeup_eventfd = eventfd;
  const flags = c.VFIO_DEVICE_FEATURE_SET;
  deviceFeature(fd, c.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, flags, arg.bytes);
}

/** Feature 5; it does nothing for a device that has not entered. */
export function deviceFeatureLowPowerExit(fd: number): void {
  const flags = c.VFIO_DEVICE_FEATURE_SET;
  deviceFeature(fd, c.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, flags, none);
}
