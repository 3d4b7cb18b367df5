/** Dirty tracking of a type1 container. */
import * as ioctl from '../ioctl/dirty-pages';
import type { DirtyTracking } from './backend';

export function containerDirtyTracking(fd: number): DirtyTracking {
  return {
    start: () => ioctl.iommuDirtyPagesStart(fd),
    stop: () => ioctl.iommuDirtyPagesStop(fd),
    read: (iova, size, pageSize) => ioctl.iommuDirtyPagesGetBitmap(fd, iova, size, pageSize),
    readAndUnmap: async (iova, size, pageSize) =>
      (await ioctl.iommuUnmapDmaGetDirtyBitmap(fd, iova, size, pageSize)).bitmap,
  };
}
