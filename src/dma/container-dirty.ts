/** Dirty tracking of a type1 container. */

import { isErrno, VfioError } from '../errors';
import * as ioctl from '../ioctl/dirty-pages';
import { assertUnmapped, type BackendName, type DirtyTracking } from './backend';

export function containerDirtyTracking(fd: number, name: BackendName): DirtyTracking {
  return {
    start: async () => {
      try {
        await ioctl.iommuDirtyPagesStart(fd);
      } catch (error) {
        // EACCES: of version 1 of type1.
        if (!isErrno(error, 'ENOTTY') && !isErrno(error, 'EACCES')) throw error;
        throw new VfioError('ERR_VFIO_UNSUPPORTED', `${name} has no dirty tracking`, {
          hint: "a type1v2 container has (Linux 5.8), and { backend: 'iommufd' } where the IOMMU has",
          cause: error,
        });
      }
    },
    stop: () => ioctl.iommuDirtyPagesStop(fd),
    read: (iova, size, pageSize) => ioctl.iommuDirtyPagesGetBitmap(fd, iova, size, pageSize),
    readAndUnmap: async (iova, size, pageSize) => {
      const unmapped = await ioctl.iommuUnmapDmaGetDirtyBitmap(fd, iova, size, pageSize);
      assertUnmapped(size, unmapped.size);
      return unmapped.bitmap;
    },
  };
}
