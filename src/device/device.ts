/** A device opened through VFIO. */
import { throwFirst } from '../all-done';
import { AddressSpace } from '../dma/address-space';
import { closedError, invalidArgument, VfioError } from '../errors';
import { hints } from '../hints';
import { VFIO_DEVICE_FLAGS_PCI, VFIO_DEVICE_FLAGS_RESET } from '../ioctl/abi/constants';
import * as ioctl from '../ioctl/device';
import type { IommuHwInfo } from '../ioctl/iommufd';
import type { Irq, IrqKind, IrqListener, IrqName } from '../irq/irq';
import { native } from '../native';
import { type ConfigSpace, decodeConfigSpace } from '../pci/config/decode';
import { onSameBus, resetMethods } from '../pci/reset-methods';
import { Sriov } from '../pci/sriov';
import { type Attachment, closeAttachment, type IommufdAttachment } from './attachment';
import { endDma, endDmaWithThread, setBusMaster } from './bus-master';
import { DmaLogging } from './dma-logging';
import { type FeatureSupport, probeFeatures } from './features';
import { Gfx } from './gfx';
import { type AffectedDevice, affectedDevices, hotReset } from './hot-reset';
import { type DeviceEvent, DeviceIrqs } from './irqs';
import { LowPower } from './low-power';
import { Migration } from './migration/migration';
import type { UseDevice } from './operations';
import { Region, type RegionName, regionIndices } from './region';
import { listRegions, type RegionSummary, regionInfo } from './region-list';
import { romHint } from './rom';
import { vfTokenBytes } from './vf-token';

export class Device implements AsyncDisposable {
  /** PCI address, `0000:01:00.0`; of a device on another bus, its name there. */
  readonly bdf: string;
  readonly info: ioctl.DeviceInfo;
  readonly lowPower: LowPower;
  readonly #fd: number;
  readonly #attachment: Attachment;
  readonly #regions = new Map<number, Region>();
  readonly #irqs: DeviceIrqs;
  readonly #onClosed: () => void;
  /** Of the addon: a thread that ends without a close leaves no device that does DMA. */
  readonly #farewell: number | undefined;
  /** Moves to other address spaces, and PASIDs, one after the other. */
  #lastMove: Promise<void> = Promise.resolve();
  #sriov: Sriov | undefined;
  #migration: Migration | undefined;
  #closing: Promise<void> | undefined;

  /** Made by `openDevice`, and owner of the attachment from then on. `onClosed`: the kernel has the device back. */
  constructor(bdf: string, attachment: Attachment, onClosed: () => void = () => {}) {
    this.bdf = bdf;
    this.#onClosed = onClosed;
    this.#fd = attachment.fd;
    this.#attachment = attachment;
    this.info = ioctl.deviceGetInfo(this.#fd);
    this.lowPower = new LowPower(bdf, this.#fd, () => this.#restoreRegions());
    this.#irqs = new DeviceIrqs(bdf, this.#fd, this.info, () => {
      this.close().catch((error) => process.emitWarning(error));
    });
    const config = this.#isPci ? regionInfo(this.#fd, regionIndices.config) : undefined;
    this.#farewell = config && endDmaWithThread(bdf, this.#fd, config);
    // Last: a device that is not made to its end is the caller's to close, and not the space's.
    attachment.space.adopt(this);
  }

  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** The address space of the device's DMA; its buffers outlive the device only if it was given to `openDevice`. */
  get dma(): AddressSpace {
    return this.#attachment.space;
  }

  /**
   * Put the device into another address space, which takes its DMA from then on: there is no moment
   * without one. Mappings stay where they are. Does nothing if it is there already.
   * @throws ERR_VFIO_UNSUPPORTED by the group interface, or with PASIDs, ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  async moveTo(space: AddressSpace): Promise<void> {
    const iommufd = this.#iommufd();
    await this.#moveInTurn(space, async () => {
      const from = this.dma;
      if (space === from) return;
      space.adopt(this);
      // Its old space may close itself, which must not close this device.
      from.disown(this);
      try {
        await iommufd.move(space);
      } catch (error) {
        space.disown(this);
        from.adopt(this);
        throw error;
      }
    });
  }

  /**
   * DMA that the device marks with `pasid` goes to `space` (a sibling of its own space) from now on;
   * all else stays where it goes.
   * @throws ERR_VFIO_UNSUPPORTED (no PASIDs in device or IOMMU, or the group interface),
   * ERR_VFIO_INVALID_ARGUMENT, ERR_VFIO_OTHER_ADDRESS_SPACE
   */
  async attachPasid(pasid: number, space: AddressSpace): Promise<void> {
    const iommufd = this.#iommufd();
    await this.#moveInTurn(space, () => iommufd.attachPasid(pasid, space));
  }

  async detachPasid(pasid: number): Promise<void> {
    const iommufd = this.#iommufd();
    await this.#moveInTurn(this.dma, () => iommufd.detachPasid(pasid));
  }

  /**
   * What the IOMMU in front of the device can do, for it (IOMMU_GET_HW_INFO).
   * @throws ERR_VFIO_UNSUPPORTED by the group interface
   */
  iommuInfo(): IommuHwInfo {
    return this.#iommufd().hwInfo();
  }

  /** PCI configuration space. */
  get config(): Region {
    return this.region('config');
  }

  /**
   * PCI configuration space, decoded: header and capabilities as they are now. The kernel shows a
   * device's user its own view of some of it (BARs, MSI, what is not to be written).
   */
  configSpace(): ConfigSpace {
    const bytes = new Uint8Array(this.config.size);
    const length = this.config.readBytes(0, bytes);
    return decodeConfigSpace(bytes.subarray(0, length));
  }

  /**
   * A region by name, or by index: those of the device's own, and all of a device that is not PCI. BARs are mapped where the kernel allows it.
   * @throws ERR_VFIO_NO_REGION
   */
  region(which: RegionName | number): Region {
    this.#assertOpen();
    const index = this.#regionIndex(which);
    const known = index === undefined ? undefined : this.#regions.get(index);
    if (known && !known.closed) return known;

    const name = typeof which === 'number' ? `region ${which}` : which;
    const info = index === undefined ? undefined : regionInfo(this.#fd, index);
    if (index === undefined || !info || info.size === 0) {
      const has = this.regions().map((region) => region.name ?? region.index);
      const empty = which === 'rom' ? romHint(this.bdf) : undefined;
      throw new VfioError('ERR_VFIO_NO_REGION', `${this.bdf} has no ${name}`, {
        device: this.bdf,
        hint: empty ?? `it has ${has.join(', ')}`,
      });
    }
    const region = new Region(this.bdf, this.#fd, name, info);
    this.#regions.set(index, region);
    return region;
  }

  /** The standard regions that the device has. */
  regionNames(): RegionName[] {
    this.#assertOpen();
    return this.regions().flatMap(({ name }) => name ?? []);
  }

  /** All regions that the device has, those of its own kinds too. */
  regions(): RegionSummary[] {
    this.#assertOpen();
    const names = this.#isPci ? (Object.keys(regionIndices) as RegionName[]) : [];
    return listRegions(this.info.numRegions, names, (index) => regionInfo(this.#fd, index));
  }

  /** VFs of a PF. @throws ERR_VFIO_INVALID_BDF on other buses than PCI */
  get sriov(): Sriov {
    this.#sriov ??= new Sriov(this.bdf);
    return this.#sriov;
  }

  /** Live migration. @throws ERR_VFIO_UNSUPPORTED if the device's driver has none */
  get migration(): Migration {
    this.#assertOpen();
    this.#migration ??= new Migration(
      this.bdf,
      this.#openFd,
      () => this.#reset(ioctl.deviceReset),
      () => this.dma.backend !== 'noiommu',
    );
    return this.#migration;
  }

  /** The display of a virtual GPU. @throws ERR_VFIO_UNSUPPORTED if the device has none */
  get gfx(): Gfx {
    this.#assertOpen();
    return new Gfx(this.bdf, this.#openFd);
  }

  /** The device's own log of its DMA, if it has one. */
  get dmaLogging(): DmaLogging {
    this.#assertOpen();
    return new DmaLogging(this.bdf, this.#use);
  }

  /** By kind, or by index on other buses than PCI. @throws ERR_VFIO_NO_INTERRUPT */
  irq(kind: IrqName): Irq {
    this.#assertOpen();
    return this.#irqs.get(kind);
  }

  /** The kinds of interrupt that the device has. */
  irqKinds(): IrqKind[] {
    this.#assertOpen();
    return this.#irqs.kinds();
  }

  /**
   * Call `listener` at each event until the returned function is called. 'error': the device or a port
   * above it reported an uncorrectable error (AER), and the device is to be reset. 'request': the
   * kernel asks for the device back (an unbind, an unplug), again every 10 seconds until it is
   * closed; whoever listens has to do that.
   * @throws ERR_VFIO_INVALID_ARGUMENT for what is no function, ERR_VFIO_NO_INTERRUPT for 'error' of a device that is not PCI Express (before Linux 7.3)
   */
  on(event: DeviceEvent, listener: IrqListener): () => void {
    this.#assertOpen();
    return this.#irqs.on(event, listener);
  }

  /** Let the device do DMA and send MSIs. It is off when the device is opened. */
  enableBusMaster(): void {
    this.#setBusMaster('set');
  }

  disableBusMaster(): void {
    this.#setBusMaster('clear');
  }

  /** The features of VFIO_DEVICE_FEATURE that the device has. */
  features(): FeatureSupport[] {
    this.#assertOpen();
    return probeFeatures(this.#fd);
  }

  /** Whether the kernel knows a way to reset this device and no other. */
  get canReset(): boolean {
    return (this.info.flags & VFIO_DEVICE_FLAGS_RESET) !== 0;
  }

  /** The ways to reset it that `reset` has, best first: see `resetMethods`. */
  get resetMethods(): string[] {
    return resetMethods(this.bdf);
  }

  /**
   * Reset the function. Registers are as after power-on; config space and interrupts are restored.
   * @throws ERR_VFIO_NO_RESET, EAGAIN (it is being unplugged)
   */
  async reset(): Promise<void> {
    this.#assertOpen();
    if (!this.canReset) {
      throw new VfioError('ERR_VFIO_NO_RESET', `${this.bdf} has no reset of its own`, {
        device: this.bdf,
        ...(this.#isPci && { hint: hints.busReset(onSameBus(this.bdf)) }),
      });
    }
    await this.#reset(ioctl.deviceReset);
  }

  /** The devices that `hotReset` would reset, this among them. @throws ERR_VFIO_NO_RESET if there is no such reset */
  hotResetDevices(): AffectedDevice[] {
    this.#assertOpen();
    return affectedDevices(this.#fd, this.bdf);
  }

  /**
   * Reset the slot or bus, with all devices on it (`hotResetDevices`), which all have to be open here.
   * @throws ERR_VFIO_NO_RESET with what is in the way, EBUSY (devices are being reset or mapped)
   */
  async hotReset(): Promise<void> {
    await this.#reset((fd) => hotReset(fd, this.bdf));
  }

  /**
   * Set the token that openers of this PF's VFs must show; also while VFs are open. It cannot be
   * read back.
   * @throws ERR_VFIO_INVALID_UUID, ENOTTY (no SR-IOV)
   */
  setVfToken(token: string): void {
    this.#assertOpen();
    ioctl.deviceFeatureSetVfToken(this.#fd, vfTokenBytes(token));
  }

  /**
   * Close interrupts, mappings and the device, then, with the last device in it, group and
   * container, once all that is under way has ended: when it resolves, the group is free. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #setBusMaster(op: 'set' | 'clear'): void {
    if (!this.#isPci) {
      this.#assertOpen();
      ioctl.deviceFeatureBusMaster(this.#fd, op);
      return;
    }
    setBusMaster(this.config, op);
  }

  async #reset(request: (fd: number) => Promise<void>): Promise<void> {
    await this.#use(request);
    if (!this.closed) this.#restoreRegions();
  }

  /** All of them, also if one fails. */
  #restoreRegions(): void {
    const failed: unknown[] = [];
    for (const region of this.#regions.values()) {
      try {
        if (!region.closed) region.restore();
      } catch (error) {
        failed.push(error);
      }
    }
    if (failed.length > 0) throw failed[0];
  }

  async #moveInTurn(space: AddressSpace, move: () => Promise<void>): Promise<void> {
    if (!(space instanceof AddressSpace)) {
      throw invalidArgument(`not an address space: ${typeof space}`, { device: this.bdf });
    }
    const moved = this.#lastMove.then(() => {
      if (space.closed) throw closedError('address space');
      return this.#use(move);
    });
    this.#lastMove = moved.catch(() => {});
    await moved;
  }

  async #close(): Promise<void> {
    const parts = [
      () => endDma(this.#isPci ? this.#regions.get(regionIndices.config) : undefined),
      ...[...this.#regions.values()].map((region) => () => region.close()),
      () => this.lowPower.close(),
      () => this.#irqs.close(),
      () => this.#migration?.close(),
    ];
    // Whichever of them fails, the others and the device are closed.
    const ended = await Promise.allSettled(parts.map(async (close) => close()));
    await this.#attachment.operations.end();
    if (this.#farewell !== undefined) native.farewellCancel(this.#farewell);
    const release = closeAttachment(this.bdf, this.#attachment, () => this.dma.disown(this));
    ended.unshift(...(await Promise.allSettled([release])));
    this.#onClosed();
    throwFirst(ended);
  }

  #iommufd(): IommufdAttachment {
    this.#assertOpen();
    const { iommufd } = this.#attachment;
    if (iommufd) return iommufd;
    throw new VfioError('ERR_VFIO_UNSUPPORTED', `${this.bdf} was opened by its group`, {
      device: this.bdf,
      hint: "an open device cannot leave its container, nor has it an id there: open it with { backend: 'iommufd' }",
    });
  }

  /** Names of regions and interrupts are those of PCI. */
  get #isPci(): boolean {
    return (this.info.flags & VFIO_DEVICE_FLAGS_PCI) !== 0;
  }

  #regionIndex(which: RegionName | number): number | undefined {
    if (typeof which === 'number') {
      return which >>> 0 === which ? which : undefined;
    }
    return this.#isPci ? regionIndices[which] : undefined;
  }

  /** For what outlives the device: by then, the number may be that of another file. */
  readonly #openFd = (): number => {
    this.#assertOpen();
    return this.#fd;
  };

  readonly #use: UseDevice = async (request) => {
    this.#assertOpen();
    return this.#attachment.operations.run(() => request(this.#fd));
  };

  #assertOpen(): void {
    if (this.#closing) throw closedError(this.bdf);
  }
}
