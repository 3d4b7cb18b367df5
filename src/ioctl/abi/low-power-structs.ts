/** The struct of linux/vfio.h about low power, field by field under its C name. */
import { struct } from './layout';

export const vfio_device_low_power_entry_with_wakeup = struct(
  'vfio_device_low_power_entry_with_wakeup',
  { wakeup_eventfd: 's32', reserved: 'u32' },
);
