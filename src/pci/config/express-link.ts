/** The link's registers in the PCI Express capability (PCIe 6.0, 7.5.3.6 to 8 and 18 to 20). */
import { type ConfigBytes, field, flags } from './config-bytes';

/** Transfers per second in GT/s, by the code of a speed; null for reserved codes. */
function speed(code: number): number | null {
  return [null, 2.5, 5, 8, 16, 32, 64][code] ?? null;
}

const aspm = (register: number, low: number) => flags(register >>> low, { l0s: 0, l1: 1 });

export function link(cap: ConfigBytes) {
  const capabilities = cap.u32(0x0c);
  const control = cap.u16(0x10);
  const status = cap.u16(0x12);
  return {
    capabilities: {
      maxSpeed: speed(field(capabilities, 0, 4)),
      maxWidth: field(capabilities, 4, 6),
      aspm: aspm(capabilities, 10),
      /** Codes of PCIe 6.0, 7.5.3.6: 0 is < 64 ns and < 1 us, 7 > 4 us and > 64 us. */
      l0sExitLatency: field(capabilities, 12, 3),
      l1ExitLatency: field(capabilities, 15, 3),
      ...flags(capabilities, {
        clockPowerManagement: 18,
        surpriseDownErrors: 19,
        linkActiveReporting: 20,
        bandwidthNotification: 21,
        aspmOptionality: 22,
      }),
      port: field(capabilities, 24, 8),
    },
    control: {
      aspm: aspm(control, 0),
      readCompletionBoundary: field(control, 3, 1) === 1 ? 128 : 64,
      ...flags(control, {
        disabled: 4,
        retrain: 5,
        commonClock: 6,
        extendedSynch: 7,
        clockPowerManagement: 8,
        autonomousWidthDisable: 9,
        bandwidthManagementInterrupt: 10,
        autonomousBandwidthInterrupt: 11,
      }),
    },
    status: {
      speed: speed(field(status, 0, 4)),
      width: field(status, 4, 6),
      ...flags(status, {
        /** Of version 1; reserved since. */
        trainingError: 10,
        training: 11,
        slotClock: 12,
        active: 13,
        bandwidthManagement: 14,
        autonomousBandwidth: 15,
      }),
    },
  };
}

export function link2(cap: ConfigBytes) {
  const capabilities = cap.u32(0x2c);
  const control = cap.u16(0x30);
  const status = cap.u16(0x32);
  const vector = field(capabilities, 1, 7);
  const codes = [1, 2, 3, 4, 5, 6].filter((code) => field(vector, code - 1, 1) === 1);
  return {
    capabilities: {
      /** GT/s. */
      supportedSpeeds: codes.map((code) => speed(code)!),
      ...flags(capabilities, { crosslink: 8, retimer: 23, twoRetimers: 24, drs: 31 }),
    },
    control: {
      /** Links of 2.5 GT/s alone may have it as 0. */
      targetSpeed: speed(field(control, 0, 4) || 1),
      ...flags(control, {
        enterCompliance: 4,
        autonomousSpeedDisable: 5,
        enterModifiedCompliance: 10,
        complianceSos: 11,
      }),
      /** Decibel, of the transmitter on links of 5 GT/s. */
      selectableDeemphasis: field(control, 6, 1) === 1 ? -3.5 : -6,
      transmitMargin: field(control, 7, 3),
      compliancePreset: field(control, 12, 4),
    },
    status: {
      deemphasis: field(status, 0, 1) === 1 ? -3.5 : -6,
      ...flags(status, {
        equalizationComplete: 1,
        equalizationPhase1: 2,
        equalizationPhase2: 3,
        equalizationPhase3: 4,
        equalizationRequest: 5,
        retimer: 6,
        twoRetimers: 7,
        flitMode: 10,
      }),
    },
  };
}
