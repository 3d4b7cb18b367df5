import type { Capability, CapabilityOf, ConfigSpace, ExtendedCapability } from 'vfio';
import { type Fragment, flag, flagLine, hexDigits } from './compare';
import { regionFragment } from './header';

const uncorrectable = {
  dataLinkProtocol: 'DLP',
  surpriseDown: 'SDES',
  poisonedTlp: 'TLP',
  flowControlProtocol: 'FCP',
  completionTimeout: 'CmpltTO',
  completerAbort: 'CmpltAbrt',
  unexpectedCompletion: 'UnxCmplt',
  receiverOverflow: 'RxOF',
  malformedTlp: 'MalfTLP',
  ecrc: 'ECRC',
  unsupportedRequest: 'UnsupReq',
  acsViolation: 'ACSViol',
} as const;

const correctable = {
  receiverError: 'RxErr',
  badTlp: 'BadTLP',
  badDllp: 'BadDLLP',
  replayNumRollover: 'Rollover',
  replayTimerTimeout: 'Timeout',
  advisoryNonFatal: 'AdvNonFatalErr',
} as const;

function aer(cap: CapabilityOf<'aer'>): Fragment[] {
  const { root } = cap;
  return [
    'Advanced Error Reporting',
    `UESta: ${flagLine(uncorrectable, cap.uncorrectable.status)}`,
    `UEMsk: ${flagLine(uncorrectable, cap.uncorrectable.mask)}`,
    `UESvrt: ${flagLine(uncorrectable, cap.uncorrectable.severity)}`,
    `CESta: ${flagLine(correctable, cap.correctable.status)}`,
    `CEMsk: ${flagLine(correctable, cap.correctable.mask)}`,
    `AERCap: First Error Pointer: ${hexDigits(cap.firstErrorPointer, 2)},`,
    flagLine(
      {
        ecrcGenerationCapable: 'ECRCGenCap',
        ecrcGeneration: 'ECRCGenEn',
        ecrcCheckCapable: 'ECRCChkCap',
        ecrcCheck: 'ECRCChkEn',
      },
      cap,
    ),
    flagLine(
      {
        multipleHeaderCapable: 'MultHdrRecCap',
        multipleHeader: 'MultHdrRecEn',
        tlpPrefixLog: 'TLPPfxPres',
        completionTimeoutLog: 'HdrLogCap',
      },
      cap,
    ),
    `HeaderLog: ${cap.headerLog.map((dword) => hexDigits(dword, 8)).join(' ')}`,
    ...(root
      ? [
          `RootCmd: ${flagLine({ correctable: 'CERptEn', nonFatal: 'NFERptEn', fatal: 'FERptEn' }, root.command)}`,
          `RootSta: ${flagLine({ correctable: 'CERcvd', multipleCorrectable: 'MultCERcvd', uncorrectable: 'UERcvd', multipleUncorrectable: 'MultUERcvd' }, root.status)}`,
          flagLine(
            { firstUncorrectableFatal: 'FirstFatal', nonFatal: 'NonFatalMsg', fatal: 'FatalMsg' },
            root.status,
          ),
          `IntMsg ${root.status.interruptMessage}`,
          `ErrorSrc: ERR_COR: ${hexDigits(root.correctableSource, 4)} ERR_FATAL/NONFATAL: ${hexDigits(root.uncorrectableSource, 4)}`,
        ]
      : []),
  ];
}

function sriov(cap: CapabilityOf<'sriov'>): Fragment[] {
  const { capabilities, control, status } = cap;
  return [
    `IOVCap: ${flagLine({ vfMigration: 'Migration', tenBitTag: '10BitTagReq' }, capabilities)} Interrupt Message Number: ${hexDigits(capabilities.vfMigrationInterruptMessage, 3)}`,
    `IOVCtl: ${flagLine({ vfEnable: 'Enable', vfMigration: 'Migration', vfMigrationInterrupt: 'Interrupt', vfMemorySpace: 'MSE', ariCapableHierarchy: 'ARIHierarchy', tenBitTag: '10BitTagReq' }, control)}`,
    `IOVSta: ${flag('Migration', status.vfMigration)}`,
    `Initial VFs: ${cap.initialVfs}, Total VFs: ${cap.totalVfs}, Number of VFs: ${cap.numVfs}, Function Dependency Link: ${hexDigits(cap.functionDependencyLink, 2)}`,
    `VF offset: ${cap.firstVfOffset}, stride: ${cap.vfStride}, Device ID: ${hexDigits(cap.vfDeviceId, 4)}`,
    `Supported Page Size: ${hexDigits(cap.supportedPageSizes, 8)}, System Page Size: ${hexDigits(cap.systemPageSize, 8)}`,
    ...cap.vfBars.map(regionFragment),
    `VF Migration: offset: ${hexDigits(cap.vfMigrationState.offset, 8)}, BIR: ${cap.vfMigrationState.bar}`,
  ];
}

const acsFlags = {
  sourceValidation: 'SrcValid',
  translationBlocking: 'TransBlk',
  requestRedirect: 'ReqRedir',
  completionRedirect: 'CmpltRedir',
  upstreamForwarding: 'UpstreamFwd',
  egressControl: 'EgressCtrl',
  directTranslated: 'DirectTrans',
} as const;

const substates = {
  pciPmL12: 'PCI-PM_L1.2',
  pciPmL11: 'PCI-PM_L1.1',
  aspmL12: 'ASPM_L1.2',
  aspmL11: 'ASPM_L1.1',
} as const;

function l1ss({ capabilities, control }: CapabilityOf<'l1ss'>): Fragment[] {
  return [
    `L1SubCap: ${flagLine({ ...substates, l1PmSubstates: 'L1_PM_Substates' }, capabilities)}`,
    {
      where: 'PortCommonModeRestoreTime',
      text: `PortCommonModeRestoreTime=${capabilities.commonModeRestoreTime}us`,
    },
    ...(capabilities.powerOnTime === null
      ? []
      : [{ where: 'PortTPowerOnTime', text: `PortTPowerOnTime=${capabilities.powerOnTime}us` }]),
    `L1SubCtl1: ${flagLine(substates, control)}`,
    { where: 'T_CommonMode', text: `T_CommonMode=${control.commonModeRestoreTime}us` },
    ...(control.ltrL12Threshold === null
      ? []
      : [{ where: 'LTR1.2_Threshold', text: `LTR1.2_Threshold=${control.ltrL12Threshold}ns` }]),
    ...(control.powerOnTime === null
      ? []
      : [{ where: 'T_PwrOn', text: `T_PwrOn=${control.powerOnTime}us` }]),
  ];
}

/** `8MB`, as lspci writes sizes. */
function sizeText(bytes: number): string {
  const exponent = Math.min(Math.floor(Math.log2(bytes) / 10), 5);
  return `${bytes / 2 ** (10 * exponent)}${['', 'KB', 'MB', 'GB', 'TB', 'PB'][exponent]}`;
}

function dsn(serialNumber: string): string {
  return Buffer.from(hexDigits(serialNumber, 16), 'hex')
    .toString('hex')
    .replace(/..(?!$)/g, '$&-');
}

/** Of the second list; undefined for others. */
export function extendedFragments(
  cap: Capability | ExtendedCapability,
  _config: ConfigSpace,
): Fragment[] | undefined {
  switch (cap.kind) {
    case 'aer':
      return aer(cap);
    case 'dsn':
      return [`Device Serial Number ${dsn(cap.serialNumber)}`];
    case 'acs':
      return [
        `ACSCap: ${flagLine(acsFlags, cap.capabilities)}`,
        `ACSCtl: ${flagLine(acsFlags, cap.control)}`,
      ];
    case 'ari':
      return [
        `ARICap: ${flagLine({ mfvcFunctionGroups: 'MFVC', acsFunctionGroups: 'ACS' }, cap.capabilities)}, Next Function: ${cap.nextFunction}`,
        `ARICtl: ${flagLine({ mfvcFunctionGroups: 'MFVC', acsFunctionGroups: 'ACS' }, cap.control)}, Function Group: ${cap.functionGroup}`,
      ];
    case 'ats':
      return [
        `ATSCap: Invalidate Queue Depth: ${hexDigits(cap.invalidateQueueDepth % 32, 2)}`,
        `ATSCtl: ${flag('Enable', cap.enabled)}, Smallest Translation Unit: ${hexDigits(Math.log2(cap.smallestTranslationUnit / 4096), 2)}`,
      ];
    case 'sriov':
      return sriov(cap);
    case 'pri':
      return [
        `PRICtl: ${flagLine({ enable: 'Enable', reset: 'Reset' }, cap.control)}`,
        `PRISta: ${flagLine({ responseFailure: 'RF', unexpectedGroupIndex: 'UPRGI', stopped: 'Stopped' }, cap.status)}`,
        `Page Request Capacity: ${hexDigits(cap.capacity, 8)}, Page Request Allocation: ${hexDigits(cap.allocation, 8)}`,
      ];
    case 'pasid':
      return [
        `PASIDCap: ${flagLine({ execute: 'Exec', privileged: 'Priv' }, cap.capabilities)}, Max PASID Width: ${hexDigits(cap.maxPasidWidth, 2)}`,
        `PASIDCtl: ${flagLine({ enable: 'Enable', execute: 'Exec', privileged: 'Priv' }, cap.control)}`,
      ];
    case 'ltr':
      return [
        ...(cap.maxSnoopLatency === null ? [] : [`Max snoop latency: ${cap.maxSnoopLatency}ns`]),
        ...(cap.maxNoSnoopLatency === null
          ? []
          : [`Max no snoop latency: ${cap.maxNoSnoopLatency}ns`]),
      ];
    case 'l1ss':
      return l1ss(cap);
    case 'rebar':
    case 'vf-rebar':
      return [
        cap.kind === 'rebar' ? 'Physical Resizable BAR' : 'Virtual Resizable BAR',
        ...cap.bars.map(
          ({ index, size, supportedSizes }) =>
            `BAR ${index}: current size: ${sizeText(size)}, supported: ${supportedSizes.map(sizeText).join(' ')}`,
        ),
      ];
    case 'vsec':
      return [
        `Vendor Specific Information: ID=${hexDigits(cap.vsecId, 4)} Rev=${cap.vsecRevision} Len=${hexDigits(cap.length, 3)}`,
      ];
    case 'dvsec':
      return [
        `Designated Vendor-Specific: Vendor=${hexDigits(cap.dvsecVendorId, 4)} ID=${hexDigits(cap.dvsecId, 4)} Rev=${cap.dvsecRevision} Len=${cap.length}`,
      ];
    case 'ptm':
      return [
        `PTMCap: Requester:${cap.capabilities.requester ? '+' : '-'} Responder:${cap.capabilities.responder ? '+' : '-'} Root:${cap.capabilities.root ? '+' : '-'}`,
        `PTMControl: Enabled:${cap.control.enable ? '+' : '-'} RootSelected:${cap.control.rootSelected ? '+' : '-'}`,
      ];
    default:
      return undefined;
  }
}
