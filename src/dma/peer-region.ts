/**
 * Regions of devices as memory to map. Only an object that a device has declared as its region is taken:
 * the address of any other would be the caller's invention, and devices would reach what is there.
 */
import { VfioError } from '../errors';

/** A BAR that other devices are to reach (peer-to-peer): a `Region` of an open device. */
export interface PeerRegion {
  /** Bytes. */
  readonly size: number;
  /** The process' mapping of it. */
  readonly address: bigint;
  /** A dma-buf of a part of it, for interfaces that take no addresses of BARs. The caller closes it. */
  exportDmaBuf(offset: number, size: number): number;
}

/** What the region's device says of it. */
export interface Peer {
  /** Bytes. */
  readonly size: number;
  /** @throws ERR_VFIO_CLOSED, ERR_VFIO_UNSUPPORTED */
  address(): bigint;
  exportDmaBuf(offset: number, size: number): number;
}

const peers = new WeakMap<object, Peer>();

/** Internal: `region` is one of a device. */
export function declarePeer(region: PeerRegion, peer: Peer): void {
  peers.set(region, peer);
}

/** @throws ERR_VFIO_INVALID_ARGUMENT for anything but a region of a device */
export function peerOf(region: PeerRegion): Peer {
  const peer = peers.get(region);
  if (peer) return peer;
  throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', 'the region to map is not one of a device', {
    hint: "pass a region of an open device: device.region('bar0')",
  });
}
