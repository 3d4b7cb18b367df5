/** What of VFIO_DEVICE_FEATURE a device has. */
import * as c from '../ioctl/abi/constants';
import { deviceFeatureProbe } from '../ioctl/device';

const features = {
  vfToken: c.VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
  migration: c.VFIO_DEVICE_FEATURE_MIGRATION,
  migrationState: c.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  lowPowerEntry: c.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
  lowPowerEntryWithWakeup: c.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
  lowPowerExit: c.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
  dmaLoggingStart: c.VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  dmaLoggingStop: c.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
  dmaLoggingReport: c.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
  migrationDataSize: c.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
  busMaster: c.VFIO_DEVICE_FEATURE_BUS_MASTER,
  dmaBuf: c.VFIO_DEVICE_FEATURE_DMA_BUF,
  migrationPrecopyInfo2: c.VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
  zpciError: c.VFIO_DEVICE_FEATURE_ZPCI_ERROR,
} as const;

export type FeatureName = keyof typeof features;

/** What can be done with a feature; the kernel and the device's driver there decide. */
export interface FeatureSupport {
  readonly name: FeatureName;
  readonly get: boolean;
  readonly set: boolean;
}

/** The features that a device has. */
export function probeFeatures(fd: number): FeatureSupport[] {
  return Object.entries(features)
    .map(([name, feature]) => ({
      name: name as FeatureName,
      get: deviceFeatureProbe(fd, feature, c.VFIO_DEVICE_FEATURE_GET),
      set: deviceFeatureProbe(fd, feature, c.VFIO_DEVICE_FEATURE_SET),
    }))
    .filter(({ get, set }) => get || set);
}
