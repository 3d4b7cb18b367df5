/** Which capabilities are decoded, by id: how long each is, and by what. */
import { AER_SIZE, advancedErrorReporting } from './aer';
import * as basic from './basic-capabilities';
import type { ConfigBytes } from './config-bytes';
import { express, expressSize } from './express';
import * as extended from './extended-capabilities';
import * as virtualization from './virtualization';

/** What a capability can need to know of others. */
export interface DecodeContext {
  /** Whether the function is a root port or a root complex event collector. */
  readonly isRoot: boolean;
}

export interface Decoder<K extends string = string, T extends object = object> {
  readonly kind: K;
  /** Bytes that it has at least, of which the length is told. */
  readonly least: number;
  /** Bytes that this one has, its header included. */
  size(cap: ConfigBytes, context: DecodeContext): number;
  decode(cap: ConfigBytes, context: DecodeContext): T;
}

function fixed<const K extends string, T extends object>(
  kind: K,
  size: number,
  decode: (cap: ConfigBytes) => T,
): Decoder<K, T> {
  return { kind, least: size, size: () => size, decode };
}

function sized<const K extends string, T extends object>(
  kind: K,
  least: number,
  size: (cap: ConfigBytes) => number,
  decode: (cap: ConfigBytes) => T,
): Decoder<K, T> {
  return { kind, least, size, decode };
}

const aer = {
  kind: 'aer',
  least: AER_SIZE,
  size: (_cap, { isRoot }) => (isRoot ? 0x38 : AER_SIZE),
  decode: (cap, { isRoot }) => advancedErrorReporting(cap, isRoot),
} as const satisfies Decoder;

/** By PCI_CAP_ID_* of linux/pci_regs.h. */
export const capabilityDecoders = {
  1: fixed('pm', 8, basic.powerManagement),
  3: fixed('vpd', 8, basic.vitalProductData),
  5: sized('msi', 0x0a, basic.msiSize, basic.msi),
  9: sized('vendor', 3, (cap) => cap.u8(2), basic.vendorSpecific),
  13: fixed('ssvid', 8, basic.subsystemId),
  16: sized('pcie', 0x0c, expressSize, express),
  17: fixed('msix', 12, basic.msix),
  19: fixed('af', 6, basic.advancedFeatures),
} as const;

/** By PCI_EXT_CAP_ID_* of linux/pci_regs.h. */
export const extendedDecoders = {
  1: aer,
  3: fixed('dsn', 12, extended.deviceSerialNumber),
  11: sized('vsec', 8, extended.vendorStructureSize, extended.vendorSpecificExtended),
  13: sized('acs', 8, virtualization.acsSize, virtualization.accessControlServices),
  14: fixed('ari', 8, virtualization.alternativeRoutingId),
  15: fixed('ats', 8, virtualization.addressTranslationServices),
  16: fixed('sriov', 0x40, virtualization.sriov),
  19: fixed('pri', 0x10, virtualization.pageRequestInterface),
  21: sized('rebar', 4, extended.resizableBarSize, extended.resizableBar),
  24: fixed('ltr', 8, extended.latencyToleranceReporting),
  27: fixed('pasid', 8, virtualization.processAddressSpaceId),
  30: fixed('l1ss', 0x10, extended.l1PmSubstates),
  31: fixed('ptm', 12, extended.precisionTimeMeasurement),
  35: sized('dvsec', 10, extended.vendorStructureSize, extended.designatedVendorSpecific),
  36: sized('vf-rebar', 4, extended.resizableBarSize, extended.resizableBar),
} as const;
