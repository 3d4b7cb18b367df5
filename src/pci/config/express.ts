/** The PCI Express capability (PCIe 6.0, 7.5.3), from its registers to plain data. */
import { type ConfigBytes, field, flags } from './config-bytes';
import { link, link2 } from './express-link';

const portTypes = {
  0: 'endpoint',
  1: 'legacy-endpoint',
  4: 'root-port',
  5: 'upstream-port',
  6: 'downstream-port',
  7: 'pcie-to-pci-bridge',
  8: 'pci-to-pcie-bridge',
  9: 'rc-integrated-endpoint',
  10: 'rc-event-collector',
} as const;

export type ExpressPortType = (typeof portTypes)[keyof typeof portTypes] | 'reserved';

interface Shape {
  readonly version: number;
  readonly portType: ExpressPortType;
  /** Which groups of registers mean something in this type of function. */
  readonly link: boolean;
  readonly slot: boolean;
  readonly root: boolean;
}

function shape(cap: ConfigBytes): Shape {
  const register = cap.u16(2);
  const type = field(register, 4, 4);
  const portType = portTypes[type as keyof typeof portTypes] ?? 'reserved';
  return {
    version: field(register, 0, 4),
    portType,
    link: portType !== 'rc-integrated-endpoint' && portType !== 'rc-event-collector',
    slot:
      (portType === 'root-port' || portType === 'downstream-port') && field(register, 8, 1) === 1,
    root: portType === 'root-port' || portType === 'rc-event-collector',
  };
}

/** Version 1 ends with the last group that the function has; of version 2, endpoints have a part. */
export function expressSize(cap: ConfigBytes): number {
  const { version, link, slot, root } = shape(cap);
  if (version < 2) return root ? 0x24 : slot ? 0x1c : link ? 0x14 : 0x0c;
  return slot || root ? 0x3c : link ? 0x34 : 0x2c;
}

/** Sizes of transactions in bytes; what is reserved reads as null. */
function transactionSize(code: number): number | null {
  return code > 5 ? null : 128 << code;
}

/**
 * In watts (PCIe 6.0, 7.5.3.9): the value counts 1, 1/10, 1/100 or 1/1000; of whole watts, the codes
 * from 0xf0 are 250, 275 and so on up to 600, and 0xff is more than that: null.
 */
function slotPowerLimit(value: number, scale: number): number | null {
  if (scale !== 0 || value < 0xf0) return value / 10 ** scale;
  return value === 0xff ? null : 250 + 25 * (value - 0xf0);
}

function device(cap: ConfigBytes) {
  const capabilities = cap.u32(0x04);
  const control = cap.u16(0x08);
  return {
    capabilities: {
      maxPayload: transactionSize(field(capabilities, 0, 3)),
      phantomFunctionBits: field(capabilities, 3, 2),
      /** Codes of PCIe 6.0, table 7-21: 0 is < 64 ns and < 1 us, 7 no limit. */
      l0sAcceptableLatency: field(capabilities, 6, 3),
      l1AcceptableLatency: field(capabilities, 9, 3),
      ...flags(capabilities, {
        extendedTag: 5,
        attentionButton: 12,
        attentionIndicator: 13,
        powerIndicator: 14,
        roleBasedErrorReporting: 15,
        functionLevelReset: 28,
        teeIo: 30,
      }),
      slotPowerLimit: slotPowerLimit(field(capabilities, 18, 8), field(capabilities, 26, 2)),
    },
    control: {
      ...flags(control, {
        correctableErrors: 0,
        nonFatalErrors: 1,
        fatalErrors: 2,
        unsupportedRequests: 3,
        relaxedOrdering: 4,
        extendedTag: 8,
        phantomFunctions: 9,
        auxPower: 10,
        noSnoop: 11,
        /** Of a bridge to PCI: configuration retry; of other functions always read as 0. */
        bridgeConfigRetry: 15,
      }),
      maxPayload: transactionSize(field(control, 5, 3)),
      maxReadRequest: transactionSize(field(control, 12, 3)),
    },
    status: flags(cap.u16(0x0a), {
      correctableError: 0,
      nonFatalError: 1,
      fatalError: 2,
      unsupportedRequest: 3,
      auxPower: 4,
      transactionsPending: 5,
    }),
  };
}

function slot(cap: ConfigBytes) {
  const capabilities = cap.u32(0x14);
  const control = cap.u16(0x18);
  const indicators = ['reserved', 'on', 'blink', 'off'] as const;
  return {
    capabilities: {
      ...flags(capabilities, {
        attentionButton: 0,
        powerController: 1,
        mrlSensor: 2,
        attentionIndicator: 3,
        powerIndicator: 4,
        hotPlugSurprise: 5,
        hotPlug: 6,
        interlock: 17,
        noCommandCompleted: 18,
      }),
      powerLimit: slotPowerLimit(field(capabilities, 7, 8), field(capabilities, 15, 2)),
      slotNumber: field(capabilities, 19, 13),
    },
    control: {
      ...flags(control, {
        attentionButtonPressed: 0,
        powerFault: 1,
        mrlSensorChanged: 2,
        presenceDetectChanged: 3,
        commandCompleted: 4,
        hotPlugInterrupt: 5,
        powerOff: 10,
        interlock: 11,
        linkStateChanged: 12,
      }),
      attentionIndicator: indicators[field(control, 6, 2)]!,
      powerIndicator: indicators[field(control, 8, 2)]!,
    },
    status: flags(cap.u16(0x1a), {
      attentionButtonPressed: 0,
      powerFault: 1,
      mrlSensorChanged: 2,
      presenceDetectChanged: 3,
      commandCompleted: 4,
      mrlOpen: 5,
      presenceDetect: 6,
      interlock: 7,
      linkStateChanged: 8,
    }),
  };
}

function root(cap: ConfigBytes) {
  const status = cap.u32(0x20);
  return {
    capabilities: flags(cap.u16(0x1e), { rrsSoftwareVisibility: 0 }),
    control: flags(cap.u16(0x1c), {
      correctableErrors: 0,
      nonFatalErrors: 1,
      fatalErrors: 2,
      pmeInterrupt: 3,
      rrsSoftwareVisibility: 4,
    }),
    status: {
      pmeRequester: field(status, 0, 16),
      ...flags(status, { pmeStatus: 16, pmePending: 17 }),
    },
  };
}

function device2(cap: ConfigBytes) {
  const capabilities = cap.u32(0x24);
  const control = cap.u16(0x28);
  return {
    capabilities: {
      /** Bits for the ranges A (50 us to 10 ms) to D (4 s to 64 s). */
      completionTimeoutRanges: field(capabilities, 0, 4),
      ...flags(capabilities, {
        completionTimeoutDisable: 4,
        ariForwarding: 5,
        atomicOpRouting: 6,
        atomicOp32: 7,
        atomicOp64: 8,
        atomicOpCas128: 9,
        noRoEnabledPrPrPassing: 10,
        ltr: 11,
        tenBitTagCompleter: 16,
        tenBitTagRequester: 17,
        extendedFmt: 20,
        endEndTlpPrefix: 21,
        emergencyPowerReductionInit: 26,
        frs: 31,
      }),
      /** Of a root port: 0 none, 1 and 2 cache lines of 64 and 128 bytes. */
      lnSystemCacheLine: field(capabilities, 14, 2),
      /** 0 none, 1 TPH, 3 TPH and extended TPH. */
      tphCompleter: field(capabilities, 12, 2),
      /** Bit 0: by message, bit 1: by WAKE#. */
      obff: field(capabilities, 18, 2),
      maxEndEndTlpPrefixes: field(capabilities, 22, 2) || 4,
      emergencyPowerReduction: field(capabilities, 24, 2),
    },
    control: {
      /** Code of PCIe 6.0, 7.5.3.16: 0 is 50 us to 50 ms. */
      completionTimeout: field(control, 0, 4),
      ...flags(control, {
        completionTimeoutDisable: 4,
        ariForwarding: 5,
        atomicOpRequester: 6,
        atomicOpEgressBlocking: 7,
        idoRequest: 8,
        idoCompletion: 9,
        ltr: 10,
        emergencyPowerReduction: 11,
        tenBitTagRequester: 12,
        endEndTlpPrefixBlocking: 15,
      }),
      obff: field(control, 13, 2),
    },
  };
}

export function express(cap: ConfigBytes) {
  const register = cap.u16(2);
  const has = shape(cap);
  const second = has.version >= 2;
  return {
    version: has.version,
    portType: has.portType,
    slotImplemented: field(register, 8, 1) === 1,
    interruptMessage: field(register, 9, 5),
    flitMode: field(register, 15, 1) === 1,
    device: device(cap),
    link: has.link ? link(cap) : null,
    slot: has.slot ? slot(cap) : null,
    root: has.root ? root(cap) : null,
    device2: second ? device2(cap) : null,
    link2: second && has.link ? link2(cap) : null,
  };
}
