/** The Advanced Error Reporting capability (PCIe 6.0, 7.8.4), from its registers to plain data. */
import { type ConfigBytes, field, flags } from './config-bytes';

const uncorrectableBits = {
  dataLinkProtocol: 4,
  surpriseDown: 5,
  poisonedTlp: 12,
  flowControlProtocol: 13,
  completionTimeout: 14,
  completerAbort: 15,
  unexpectedCompletion: 16,
  receiverOverflow: 17,
  malformedTlp: 18,
  ecrc: 19,
  unsupportedRequest: 20,
  acsViolation: 21,
  uncorrectableInternal: 22,
  multicastBlockedTlp: 23,
  atomicOpEgressBlocked: 24,
  tlpPrefixBlocked: 25,
  poisonedTlpEgressBlocked: 26,
  dmwrEgressBlocked: 27,
  ideCheckFailed: 28,
  misroutedIdeTlp: 29,
  pcrcCheckFailed: 30,
  tlpTranslationEgressBlocked: 31,
} as const;

const correctableBits = {
  receiverError: 0,
  badTlp: 6,
  badDllp: 7,
  replayNumRollover: 8,
  replayTimerTimeout: 12,
  advisoryNonFatal: 13,
  correctedInternal: 14,
  headerLogOverflow: 15,
} as const;

/** Root ports and event collectors have more, which these bytes do not tell: up to the next structure. */
export const AER_SIZE = 0x2c;
const AER_ROOT_SIZE = 0x38;

function root(cap: ConfigBytes) {
  const status = cap.u32(0x30);
  return {
    command: flags(cap.u32(0x2c), { correctable: 0, nonFatal: 1, fatal: 2 }),
    status: {
      ...flags(status, {
        correctable: 0,
        multipleCorrectable: 1,
        uncorrectable: 2,
        multipleUncorrectable: 3,
        firstUncorrectableFatal: 4,
        nonFatal: 5,
        fatal: 6,
      }),
      interruptMessage: field(status, 27, 5),
    },
    /** Requester ids: bus, device and function in 8, 5 and 3 bits. */
    correctableSource: cap.u16(0x34),
    uncorrectableSource: cap.u16(0x36),
  };
}

/** `isRoot`: of a root port or an event collector, as the PCI Express capability says. */
export function advancedErrorReporting(cap: ConfigBytes, isRoot: boolean) {
  const control = cap.u32(0x18);
  return {
    uncorrectable: {
      status: flags(cap.u32(0x04), uncorrectableBits),
      mask: flags(cap.u32(0x08), uncorrectableBits),
      /** Set: fatal. */
      severity: flags(cap.u32(0x0c), uncorrectableBits),
    },
    correctable: {
      status: flags(cap.u32(0x10), correctableBits),
      mask: flags(cap.u32(0x14), correctableBits),
    },
    firstErrorPointer: field(control, 0, 5),
    ...flags(control, {
      ecrcGenerationCapable: 5,
      ecrcGeneration: 6,
      ecrcCheckCapable: 7,
      ecrcCheck: 8,
      multipleHeaderCapable: 9,
      multipleHeader: 10,
      tlpPrefixLog: 11,
      completionTimeoutLog: 12,
    }),
    /** The first TLP of the error, four doublewords. */
    headerLog: [0x1c, 0x20, 0x24, 0x28].map((offset) => cap.u32(offset)),
    root: isRoot && cap.length >= AER_ROOT_SIZE ? root(cap) : null,
  };
}
