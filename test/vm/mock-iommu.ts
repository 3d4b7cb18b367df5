import { withKernelBuffer } from '../../src/ioctl/kernel-buffer';
import { native } from '../../src/native';

const IOMMU_TEST_CMD = 0x3ba0;
const OP_MOCK_DOMAIN_REPLACE = 10;
const OP_MOCK_DOMAIN_FLAGS = 12;
const OP_DIRTY = 13;
const OP_MD_CHECK_IOTLB = 14;
const OP_TRIGGER_IOPF = 15;
const OP_DEV_CHECK_CACHE = 16;
const OP_TRIGGER_VEVENT = 17;
const OP_PASID_ATTACH = 18;
const OP_PASID_REPLACE = 19;
const OP_PASID_DETACH = 20;
const OP_PASID_CHECK_HWPT = 21;

const MOCK_FLAGS_DEVICE_PASID = 1 << 2;

/** struct iommu_test_cmd: size, op, id, reserved, and 48 bytes by op. */
const COMMAND_SIZE = 72;
const ARGUMENTS = 16;

function command(iommufd: number, op: number, id: number, fill: (at: DataView) => void): DataView {
  const bytes = new Uint8Array(COMMAND_SIZE);
  const header = new DataView(bytes.buffer);
  header.setUint32(0, COMMAND_SIZE, true);
  header.setUint32(4, op, true);
  header.setUint32(8, id, true);
  const args = new DataView(bytes.buffer, ARGUMENTS);
  fill(args);
  const result = native.ioctlStruct(iommufd, IOMMU_TEST_CMD, bytes);
  if (result < 0) throw new Error(`mock command ${op}: errno ${-result}`);
  return args;
}

/** A device behind the mock IOMMU, as the library sees those that it attaches. */
export class MockDevice {
  /** Its id in the iommufd. */
  readonly id: number;
  /** The page table it is on. */
  hwpt: number;
  readonly #iommufd: number;
  readonly #self: number;
  readonly #pasids = new Set<number>();

  constructor(iommufd: number, ioas: number) {
    const out = command(iommufd, OP_MOCK_DOMAIN_FLAGS, ioas, (args) =>
      args.setUint32(12, MOCK_FLAGS_DEVICE_PASID, true),
    );
    this.#iommufd = iommufd;
    this.#self = out.getUint32(0, true);
    this.hwpt = out.getUint32(4, true);
    this.id = out.getUint32(8, true);
  }

  /** Its id as an object of the iommufd: what is to be destroyed. */
  get object(): number {
    return this.#self;
  }

  async attach(ptId: number, pasid?: number): Promise<void> {
    if (pasid === undefined) {
      const out = command(this.#iommufd, OP_MOCK_DOMAIN_REPLACE, this.#self, (args) =>
        args.setUint32(0, ptId, true),
      );
      this.hwpt = out.getUint32(0, true);
      return;
    }
    const op = this.#pasids.has(pasid) ? OP_PASID_REPLACE : OP_PASID_ATTACH;
    command(this.#iommufd, op, this.#self, (args) => {
      args.setUint32(0, pasid, true);
      args.setUint32(4, ptId, true);
    });
    this.#pasids.add(pasid);
  }

  async detach(pasid: number): Promise<void> {
    command(this.#iommufd, OP_PASID_DETACH, this.#self, (args) => args.setUint32(0, pasid, true));
    this.#pasids.delete(pasid);
  }

  /** Whether a PASID is on a page table; 0: on none. */
  pasidIsOn(pasid: number, hwpt: number): boolean {
    try {
      command(this.#iommufd, OP_PASID_CHECK_HWPT, this.#self, (args) => {
        args.setUint32(0, pasid, true);
        args.setUint32(4, hwpt, true);
      });
      return true;
    } catch {
      return false;
    }
  }

  /** The device writes to pages, counted from `iova`. */
  write(iova: bigint, size: number, pageSize: number, pages: readonly number[]): void {
    withKernelBuffer(size / pageSize / 8, (bitmap) => {
      for (const page of pages) bitmap.bytes[page >> 3]! |= 1 << (page & 7);
      command(this.#iommufd, OP_DIRTY, this.hwpt, (args) => {
        args.setBigUint64(8, iova, true);
        args.setBigUint64(16, BigInt(size), true);
        args.setBigUint64(24, BigInt(pageSize), true);
        args.setBigUint64(32, bitmap.address, true);
      });
    });
  }

  /** What the IOMMU remembers of a nested page table; @throws unless it is `expected` */
  checkIotlb(hwpt: number, entry: number, expected: number): void {
    command(this.#iommufd, OP_MD_CHECK_IOTLB, hwpt, (args) => {
      args.setUint32(0, entry, true);
      args.setUint32(4, expected, true);
    });
  }

  /** What the IOMMU remembers of the device itself; @throws unless it is `expected` */
  checkCache(entry: number, expected: number): void {
    command(this.#iommufd, OP_DEV_CHECK_CACHE, this.id, (args) => {
      args.setUint32(0, entry, true);
      args.setUint32(4, expected, true);
    });
  }

  /** Something happens to the device that its virtual IOMMU is to be told of. */
  raiseEvent(): void {
    command(this.#iommufd, OP_TRIGGER_VEVENT, 0, (args) => args.setUint32(0, this.id, true));
  }

  /** A page request: it wants to read what is not mapped. */
  requestPage(address: bigint, group: number): void {
    command(this.#iommufd, OP_TRIGGER_IOPF, 0, (args) => {
      args.setUint32(0, this.id, true);
      args.setUint32(8, group, true);
      args.setUint32(12, 1, true);
      args.setBigUint64(16, address, true);
    });
  }
}
