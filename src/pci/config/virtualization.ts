/** Capabilities about sharing and isolating a function: SR-IOV, ACS, ARI, ATS, PRI and PASID. */
import { type ConfigBytes, field, flags } from './config-bytes';
import { decodeBars } from './header';

/** Single Root I/O Virtualization 1.1, 3.3; PCIe 6.0, 9.3.3. */
export function sriov(cap: ConfigBytes) {
  const capabilities = cap.u32(0x04);
  const migration = cap.u32(0x3c);
  return {
    capabilities: {
      ...flags(capabilities, { vfMigration: 0, ariHierarchyPreserved: 1, tenBitTag: 2 }),
      vfMigrationInterruptMessage: field(capabilities, 21, 11),
    },
    control: flags(cap.u16(0x08), {
      vfEnable: 0,
      vfMigration: 1,
      vfMigrationInterrupt: 2,
      vfMemorySpace: 3,
      ariCapableHierarchy: 4,
      tenBitTag: 5,
    }),
    status: flags(cap.u16(0x0a), { vfMigration: 0 }),
    initialVfs: cap.u16(0x0c),
    totalVfs: cap.u16(0x0e),
    numVfs: cap.u16(0x10),
    functionDependencyLink: cap.u8(0x12),
    /** Distances of routing ids: the PF to its first VF, and one VF to the next. */
    firstVfOffset: cap.u16(0x14),
    vfStride: cap.u16(0x16),
    vfDeviceId: cap.u16(0x1a),
    /** Bit n: pages of 2^(n + 12) bytes. */
    supportedPageSizes: cap.u32(0x1c),
    systemPageSize: cap.u32(0x20),
    vfBars: decodeBars(cap, 0x24, 6),
    vfMigrationState: { bar: field(migration, 0, 3), offset: (migration & ~7) >>> 0 },
  };
}

const acsBits = {
  sourceValidation: 0,
  translationBlocking: 1,
  requestRedirect: 2,
  completionRedirect: 3,
  upstreamForwarding: 4,
  egressControl: 5,
  directTranslated: 6,
} as const;

const acsEnhancedBits = {
  ioRequestBlocking: 7,
  unclaimedRequestRedirect: 12,
} as const;

/** A vector of one bit per port, behind the registers where there is P2P egress control. */
export function acsSize(cap: ConfigBytes): number {
  const egressControl = field(cap.u16(4), 5, 1) === 1;
  const ports = field(cap.u16(4), 8, 8) || 256;
  return 8 + (egressControl ? Math.ceil(ports / 32) * 4 : 0);
}

/** PCIe 6.0, 7.7.12. */
export function accessControlServices(cap: ConfigBytes) {
  const capabilities = cap.u16(4);
  const control = cap.u16(6);
  return {
    capabilities: {
      ...flags(capabilities, acsBits),
      enhanced: field(capabilities, 7, 1) === 1,
      egressControlVectorSize: field(capabilities, 8, 8),
    },
    control: {
      ...flags(control, { ...acsBits, ...acsEnhancedBits }),
      downstreamMemoryTarget: field(control, 8, 2),
      upstreamMemoryTarget: field(control, 10, 2),
    },
  };
}

/** PCIe 6.0, 7.8.8. */
export function alternativeRoutingId(cap: ConfigBytes) {
  const capabilities = cap.u16(4);
  const control = cap.u16(6);
  return {
    capabilities: flags(capabilities, { mfvcFunctionGroups: 0, acsFunctionGroups: 1 }),
    nextFunction: field(capabilities, 8, 8),
    control: flags(control, { mfvcFunctionGroups: 0, acsFunctionGroups: 1 }),
    functionGroup: field(control, 4, 3),
  };
}

/** PCIe 6.0, 10.5.1. */
export function addressTranslationServices(cap: ConfigBytes) {
  const capabilities = cap.u16(4);
  const control = cap.u16(6);
  return {
    invalidateQueueDepth: field(capabilities, 0, 5) || 32,
    ...flags(capabilities, { pageAlignedRequest: 5, globalInvalidate: 6, relaxedOrdering: 7 }),
    enabled: field(control, 15, 1) === 1,
    /** Bytes of the smallest translation. */
    smallestTranslationUnit: 2 ** (12 + field(control, 0, 5)),
  };
}

/** PCIe 6.0, 10.5.2. */
export function pageRequestInterface(cap: ConfigBytes) {
  return {
    control: flags(cap.u16(4), { enable: 0, reset: 1 }),
    status: flags(cap.u16(6), {
      responseFailure: 0,
      unexpectedGroupIndex: 1,
      stopped: 8,
      pasidRequired: 15,
    }),
    capacity: cap.u32(8),
    allocation: cap.u32(12),
  };
}

/** PCIe 6.0, 7.8.9. */
export function processAddressSpaceId(cap: ConfigBytes) {
  return {
    capabilities: flags(cap.u16(4), { execute: 1, privileged: 2 }),
    maxPasidWidth: field(cap.u16(4), 8, 5),
    control: flags(cap.u16(6), { enable: 0, execute: 1, privileged: 2 }),
  };
}
