/**
 * A fake of the addon with a small VFIO behind it: one device in one group. It knows the kernel's
 * rules that the library relies on, and breaks on request where a real kernel does not.
 */
import { constants } from 'node:os';
import * as abi from '../../src/ioctl/abi/constants';
import { requests } from '../../src/ioctl/abi/requests';
import * as s from '../../src/ioctl/abi/structs';
import type { NativeAddon } from '../../src/native';
import { accessors } from './fake-registers';

const { EACCES, EBADF, EBUSY, EEXIST, EINVAL, ENOENT, ENODEV, ENOTTY, EPERM } = constants.errno;

export const DEVICE = { bdf: '0000:01:00.0', vendor: 0x8086, device: 0x10c9, group: 5 };
const BAR_SIZE = 0x4000;
const CONFIG_SIZE = 256;
const VECTORS = 4;

type Kind = 'container' | 'group' | 'device' | 'memfd';

interface Range {
  memory: ArrayBuffer;
  closed: boolean;
  faults: number;
  /** What rangeLost gives a view of. */
  lost: Uint8Array<ArrayBuffer>;
}

export class FakeKernel {
  readonly config = new DataView(new ArrayBuffer(CONFIG_SIZE));
  readonly mappings = new Map<bigint, bigint>();
  /** Fail the next request of this number with this errno. */
  readonly failures = new Map<number, number>();
  /** What the group knows its device by. */
  deviceName = DEVICE.bdf;
  /** Another device in the group. */
  sibling: string | undefined;
  vfToken: string | undefined;
  viable = true;
  /** VFIO_DEVICE_FLAGS_* of the device's bus. */
  bus = abi.VFIO_DEVICE_FLAGS_PCI;
  /** A region of the device's own, which its driver does not count. */
  uncounted: number | undefined;
  groupHeld = false;
  vfioLoaded = true;
  /** CONFIG_IOMMUFD_VFIO_CONTAINER. */
  containersAreIommufd = false;
  /** What accesses to config space fail with. */
  configErrno = 0;
  /** How many vectors the device has, by kind of interrupt. */
  readonly irqs = new Map([[abi.VFIO_PCI_MSIX_IRQ_INDEX, VECTORS]]);
  /** How often INTx was unmasked. */
  unmasked = 0;
  /** How many vectors the machine has for the device. */
  vectorsLeft = VECTORS;
  /** Whether vectors can be added to those that MSI-X was enabled with. */
  dynamicMsix = true;

  readonly #files = new Map<number, Kind>();
  /** Of these, those that nobody has adopted yet. */
  readonly #handedOver = new Set<number>();
  readonly #ranges = new Map<number, Range>();
  readonly #eventfds = new Map<number, FakeEventfd>();
  /** Eventfd of each vector, by kind of interrupt that is on. */
  readonly #vectors = new Map<number, Map<number, number>>();
  #vectorsAllocated = 0;
  #groupAttached = false;
  #iommuSet = false;
  #nextId = 10;

  constructor() {
    this.config.setUint16(0, DEVICE.vendor, true);
    this.config.setUint16(2, DEVICE.device, true);
  }

  /** Requests to be made when the thread ends. */
  readonly farewells = new Set<number>();

  /** Everything that is not given back: empty after a clean close. */
  leaks(): string[] {
    return [
      ...[...this.#files].filter(([fd]) => !this.#handedOver.has(fd)).map(([, kind]) => kind),
      ...[...this.#ranges.values()].filter(({ closed }) => !closed).map(() => 'range'),
      ...[...this.#eventfds].map(() => 'eventfd'),
      ...[...this.mappings].map(() => 'mapping'),
    ];
  }

  /** A descriptor that somebody else opened. */
  handOver(kind: Kind): number {
    const fd = this.#file(kind);
    this.#handedOver.add(fd);
    return fd;
  }

  /** The device stops answering: accesses to its mapped regions fault. */
  unplug(): void {
    for (const range of this.#ranges.values()) {
      range.faults = 1;
      range.lost[0] = 1;
    }
  }

  /** The device is gone; the kernel takes its group out of the container. */
  unplugFromGroup(): void {
    this.#groupAttached = false;
    this.#iommuSet = false;
    this.mappings.clear();
  }

  readonly native: NativeAddon = {
    pageSize: 4096,
    open: (path) => this.#open(path),
    duplicateFd: (fd) => {
      const kind = this.#files.get(fd);
      return kind === undefined ? -EBADF : this.#file(kind);
    },
    giveFd: (fd) => (this.#files.delete(fd) ? fd : -EBADF),
    farewellClearBits: () => ++this.#nextId,
    farewellRequest: () => {
      this.farewells.add(++this.#nextId);
      return this.#nextId;
    },
    farewellCancel: (id) => (this.farewells.delete(id) ? 0 : -ENOENT),
    sigbusRearm: () => 0,
    memfdCreate: () => this.#file('memfd'),
    close: (fd) => this.#close(fd),
    closeAsync: async (fd) => this.#close(fd),
    pread: (fd, bytes, position) => {
      if (this.#files.get(fd) !== 'device') return -EBADF;
      const from = position - abi.VFIO_PCI_CONFIG_REGION_INDEX * 2 ** 40;
      bytes.set(new Uint8Array(this.config.buffer, from, bytes.length));
      return bytes.length;
    },
    pwrite: () => -EINVAL,
    ioctlValue: (fd, request, value) => this.#ioctlValue(fd, request, value),
    ioctlInt: (_fd, request) => this.#setContainer(request),
    ioctlString: () => -EINVAL,
    ioctlStruct: (fd, request, bytes) => this.#ioctlStruct(fd, request, bytes),
    ioctlPrepare: (fd, request, bytes) => {
      const kept = bytes.slice();
      return () => this.#ioctlStruct(fd, request, kept.slice());
    },
    ioctlStructAsync: async (fd, request, bytes) => this.#ioctlStruct(fd, request, bytes),
    ioctlValueAsync: async (fd, request, value) => this.#ioctlValue(fd, request, value),
    ioctlStringFdAsync: async (fd, _request, text) => this.#getDeviceFd(fd, text),

    rangeReserve: (length) => {
      if (length > 2 ** 46) return -constants.errno.ENOMEM;
      this.#ranges.set(++this.#nextId, {
        memory: new ArrayBuffer(length < 2 ** 30 ? length : 0),
        closed: false,
        faults: 0,
        lost: new Uint8Array(1),
      });
      return this.#nextId;
    },
    rangeMap: () => 0,
    rangeAttach: (id) => (this.#ranges.has(id) ? 0 : -EBADF),
    rangeRelease: (id) => {
      const range = this.#ranges.get(id);
      if (range && !range.closed) {
        range.closed = true;
        structuredClone(range.memory, { transfer: [range.memory] });
      }
      return 0;
    },
    rangeLock: () => 0,
    memoryAddress: () => 0x7f00_0000_0000n,
    rangeAddress: (id) => BigInt(id) << 32n,
    rangeLength: (id) => this.#ranges.get(id)?.memory.byteLength ?? -EBADF,
    rangeBuffer: (id) => this.#ranges.get(id)!.memory,
    rangeLost: (id) => this.#ranges.get(id)!.lost.buffer,
    rangeRegisters: (id) => {
      const range = this.#ranges.get(id)!;
      return accessors(new DataView(range.memory), () =>
        range.closed ? EBADF : range.faults * constants.errno.EIO,
      );
    },
    rangeFaults: (id) => this.#ranges.get(id)?.faults ?? -EBADF,
    rangeRestore: (id) => {
      const range = this.#ranges.get(id)!;
      range.faults = 0;
      range.lost[0] = 0;
      return 0;
    },
    fdRegisters: (fd) =>
      accessors(this.config, () => (this.#files.has(fd) ? this.configErrno : EBADF)),

    eventfdOpen: (listener) => {
      this.#eventfds.set(++this.#nextId, { listener, count: 0 });
      return this.#nextId;
    },
    eventfdCreate: () => {
      this.#eventfds.set(++this.#nextId, { listener: undefined, count: 0 });
      return this.#nextId;
    },
    eventfdWrite: (fd, count) => this.#signal(fd, count),
    eventfdRead: (fd) => {
      const eventfd = this.#eventfds.get(fd);
      return eventfd ? takeCount(eventfd) : -EBADF;
    },
    eventfdRef: () => 0,
    eventfdUnref: () => 0,
    eventfdClose: (fd) => {
      this.#eventfds.delete(fd);
      return 0;
    },
  };

  #open(path: string): number {
    if (!this.vfioLoaded) return -ENOENT;
    if (path === '/dev/vfio/vfio') return this.#file('container');
    if (path !== `/dev/vfio/${DEVICE.group}`) return -ENOENT;
    const held =
      this.groupHeld ||
      [...this.#files.values()].some((kind) => kind === 'group' || kind === 'device');
    return held ? -EBUSY : this.#file('group');
  }

  #file(kind: Kind): number {
    this.#files.set(++this.#nextId, kind);
    return this.#nextId;
  }

  #close(fd: number): number {
    if (this.#files.get(fd) === 'device') this.config.setUint16(4, 0, true);
    return this.#files.delete(fd) ? 0 : -EBADF;
  }

  #failure(request: number): number {
    const errno = this.failures.get(request) ?? 0;
    this.failures.delete(request);
    return -errno;
  }

  #setContainer(request: number): number {
    if (request !== requests.VFIO_GROUP_SET_CONTAINER) return -ENOTTY;
    if (!this.viable) return -EPERM;
    if (this.#groupAttached) return -EINVAL;
    this.#groupAttached = true;
    return 0;
  }

  #ioctlValue(fd: number, request: number, value: number): number {
    const failure = this.#failure(request);
    if (failure) return failure;
    if (!this.#files.has(fd)) return -EBADF;
    switch (request) {
      case requests.VFIO_GET_API_VERSION:
        return 0;
      case requests.VFIO_CHECK_EXTENSION:
        return value === abi.VFIO_TYPE1v2_IOMMU ? 1 : 0;
      case requests.VFIO_SET_IOMMU:
        if (!this.#groupAttached || this.#iommuSet) return -EINVAL;
        this.#iommuSet = true;
        return 0;
      case requests.VFIO_GROUP_UNSET_CONTAINER:
        if (!this.#groupAttached) return -EINVAL;
        if ([...this.#files.values()].includes('device')) return -EBUSY;
        this.unplugFromGroup();
        return 0;
      case requests.VFIO_DEVICE_RESET:
        return 0;
      default:
        return -ENOTTY;
    }
  }

  #getDeviceFd(fd: number, text: string): number {
    if (this.#files.get(fd) !== 'group' || !this.#iommuSet) return -EINVAL;
    const [name, ...options] = text.split(' ');
    if (name === undefined || ![this.deviceName, this.sibling].includes(name)) return -ENODEV;
    for (const option of options) if (!option.startsWith('vf_token=')) return -EINVAL;
    const token = options[0]?.slice('vf_token='.length);
    if (this.vfToken !== token) return this.vfToken === undefined ? -EINVAL : -EACCES;
    return this.#file('device');
  }

  #ioctlStruct(fd: number, request: number, given: Uint8Array): number {
    const failure = this.#failure(request);
    if (failure) return failure;
    if (!this.#files.has(fd)) return -EBADF;
    const bytes = given as Uint8Array<ArrayBuffer>;
    switch (request) {
      case requests.VFIO_GROUP_GET_STATUS:
        s.vfio_group_status.view(bytes).flags = this.viable ? abi.VFIO_GROUP_FLAGS_VIABLE : 0;
        return 0;
      case requests.IOMMU_OPTION:
        return this.containersAreIommufd ? 0 : -ENOTTY;
      case requests.VFIO_IOMMU_GET_INFO:
        return this.#iommuInfo(bytes);
      case requests.VFIO_IOMMU_MAP_DMA: {
        if (!this.#iommuSet) return -EINVAL;
        const { iova, size } = s.vfio_iommu_type1_dma_map.view(bytes);
        if (this.mappings.has(iova)) return -EEXIST;
        this.mappings.set(iova, size);
        return 0;
      }
      case requests.VFIO_IOMMU_UNMAP_DMA: {
        if (!this.#iommuSet) return -EINVAL;
        const arg = s.vfio_iommu_type1_dma_unmap.view(bytes);
        arg.size = this.mappings.get(arg.iova) ?? 0n;
        this.mappings.delete(arg.iova);
        return 0;
      }
      case requests.VFIO_DEVICE_GET_INFO: {
        const info = s.vfio_device_info.view(bytes);
        info.flags = this.bus | abi.VFIO_DEVICE_FLAGS_RESET;
        info.num_regions = abi.VFIO_PCI_NUM_REGIONS;
        info.num_irqs = 5;
        return 0;
      }
      case requests.VFIO_DEVICE_GET_REGION_INFO:
        return this.#regionInfo(bytes);
      case requests.VFIO_DEVICE_GET_IRQ_INFO: {
        const info = s.vfio_irq_info.view(bytes);
        if (info.index > abi.VFIO_PCI_REQ_IRQ_INDEX) return -EINVAL;
        info.flags = abi.VFIO_IRQ_INFO_EVENTFD;
        if (!this.dynamicMsix) info.flags |= abi.VFIO_IRQ_INFO_NORESIZE;
        if (info.index === abi.VFIO_PCI_INTX_IRQ_INDEX)
          info.flags |= abi.VFIO_IRQ_INFO_MASKABLE | abi.VFIO_IRQ_INFO_AUTOMASKED;
        info.count = this.irqs.get(info.index) ?? 0;
        return 0;
      }
      case requests.VFIO_DEVICE_SET_IRQS:
        return this.#setIrqs(bytes);
      default:
        return -ENOTTY;
    }
  }

  #iommuInfo(bytes: Uint8Array<ArrayBuffer>): number {
    if (!this.#iommuSet) return -EINVAL;
    const info = s.vfio_iommu_type1_info.view(bytes);
    const cap = s.vfio_iommu_type1_info_cap_iova_range;
    const need = s.vfio_iommu_type1_info.size + cap.size + s.vfio_iova_range.size;
    info.flags = abi.VFIO_IOMMU_INFO_PGSIZES | abi.VFIO_IOMMU_INFO_CAPS;
    info.iova_pgsizes = 4096n;
    const short = info.argsz < need;
    info.argsz = need;
    if (short) return 0;
    info.cap_offset = s.vfio_iommu_type1_info.size;
    const at = bytes.subarray(info.cap_offset);
    s.vfio_info_cap_header.view(at).id = abi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
    cap.view(at).nr_iovas = 1;
    s.vfio_iova_range.view(at.subarray(cap.size)).end = (1n << 39n) - 1n;
    return 0;
  }

  #regionInfo(bytes: Uint8Array<ArrayBuffer>): number {
    const info = s.vfio_region_info.view(bytes);
    if (info.index >= abi.VFIO_PCI_VGA_REGION_INDEX && info.index !== this.uncounted)
      return -EINVAL;
    info.flags = abi.VFIO_REGION_INFO_FLAG_READ | abi.VFIO_REGION_INFO_FLAG_WRITE;
    info.offset = BigInt(info.index) << 40n;
    if (info.index === abi.VFIO_PCI_CONFIG_REGION_INDEX) info.size = BigInt(CONFIG_SIZE);
    if ([abi.VFIO_PCI_BAR0_REGION_INDEX, this.uncounted].includes(info.index)) {
      info.flags |= abi.VFIO_REGION_INFO_FLAG_MMAP;
      info.size = BigInt(BAR_SIZE);
    }
    return 0;
  }

  #setIrqs(bytes: Uint8Array<ArrayBuffer>): number {
    const { flags, index, start, count } = s.vfio_irq_set.view(bytes);
    if (flags & abi.VFIO_IRQ_SET_DATA_EVENTFD) {
      const data = new DataView(bytes.buffer, bytes.byteOffset + s.vfio_irq_set.size);
      const fds = Array.from({ length: count }, (_, i) => data.getInt32(4 * i, true));
      return this.#setVectors(index, start, fds);
    }
    const vectors = this.#vectors.get(index);
    if (!vectors) return -EINVAL;
    if (flags & abi.VFIO_IRQ_SET_ACTION_UNMASK) {
      this.unmasked += 1;
      return 0;
    }
    if (count === 0) this.#vectors.delete(index);
    for (let vector = start; vector < start + count; vector++) {
      this.#signal(vectors.get(vector) ?? -1, 1);
    }
    return 0;
  }

  #setVectors(index: number, start: number, fds: readonly number[]): number {
    const end = start + fds.length;
    let vectors = this.#vectors.get(index);
    if (!vectors) {
      if (end > this.vectorsLeft) return this.vectorsLeft;
      vectors = new Map();
      this.#vectors.set(index, vectors);
      this.#vectorsAllocated = end;
    }
    const fixed = !this.dynamicMsix && end > this.#vectorsAllocated;
    const bad = fixed || fds.some((fd) => fd >= 0 && !this.#eventfds.has(fd));
    for (const [i, fd] of fds.entries()) {
      if (bad || fd < 0) vectors.delete(start + i);
      else vectors.set(start + i, fd);
    }
    return bad ? -EINVAL : 0;
  }

  #signal(fd: number, count: number): number {
    const eventfd = this.#eventfds.get(fd);
    if (!eventfd) return -EBADF;
    eventfd.count += count;
    setImmediate(() => {
      const taken = this.#eventfds.get(fd) === eventfd && eventfd.listener ? takeCount(eventfd) : 0;
      if (taken > 0) eventfd.listener?.(taken);
    });
    return 0;
  }
}

interface FakeEventfd {
  readonly listener: ((count: number) => void) | undefined;
  count: number;
}

function takeCount(eventfd: FakeEventfd): number {
  const { count } = eventfd;
  eventfd.count = 0;
  return count;
}
