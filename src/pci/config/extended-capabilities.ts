/** Other extended capabilities, from their registers to plain data. */
import { type ConfigBytes, field, flags } from './config-bytes';

/** PCIe 6.0, 7.9.3. */
export function deviceSerialNumber(cap: ConfigBytes) {
  return { serialNumber: cap.hex64(4) };
}

/** In nanoseconds; null where the scale is reserved. */
function latency(value: number, scale: number): number | null {
  return scale > 5 ? null : value * 32 ** scale;
}

/** PCIe 6.0, 7.8.2. */
export function latencyToleranceReporting(cap: ConfigBytes) {
  const max = (register: number) => latency(field(register, 0, 10), field(register, 10, 3));
  return { maxSnoopLatency: max(cap.u16(4)), maxNoSnoopLatency: max(cap.u16(6)) };
}

const substates = { pciPmL12: 0, pciPmL11: 1, aspmL12: 2, aspmL11: 3 } as const;

/** In microseconds; null where the scale is reserved. */
function powerOn(value: number, scale: number): number | null {
  const unit = [2, 10, 100][scale];
  return unit === undefined ? null : value * unit;
}

/** PCIe 6.0, 7.8.3. */
export function l1PmSubstates(cap: ConfigBytes) {
  const capabilities = cap.u32(4);
  const control = cap.u32(8);
  const control2 = cap.u32(12);
  return {
    capabilities: {
      ...flags(capabilities, { ...substates, l1PmSubstates: 4 }),
      /** Microseconds. */
      commonModeRestoreTime: field(capabilities, 8, 8),
      powerOnTime: powerOn(field(capabilities, 19, 5), field(capabilities, 16, 2)),
    },
    control: {
      ...flags(control, substates),
      commonModeRestoreTime: field(control, 8, 8),
      /** Nanoseconds. */
      ltrL12Threshold: latency(field(control, 16, 10), field(control, 29, 3)),
      powerOnTime: powerOn(field(control2, 3, 5), field(control2, 0, 2)),
    },
  };
}

export function resizableBarSize(cap: ConfigBytes): number {
  return 4 + 8 * field(cap.u32(8), 5, 3);
}

/** PCIe 6.0, 7.8.6; the same registers for the BARs of VFs, 7.8.7. Sizes in bytes. */
export function resizableBar(cap: ConfigBytes) {
  const count = field(cap.u32(8), 5, 3);
  const bars = Array.from({ length: count }, (_, n) => {
    const capability = cap.u32(4 + 8 * n);
    const control = cap.u32(8 + 8 * n);
    // Bits 4 to 31 of the capability are 1 MiB to 128 TiB, bits 16 to 31 of the control 256 TiB on.
    const sizes = (BigInt(control >>> 16) << 28n) | BigInt(capability >>> 4);
    const exponents = Array.from({ length: 44 }, (_, bit) => bit);
    return {
      index: field(control, 0, 3),
      size: 2 ** (20 + field(control, 8, 6)),
      supportedSizes: exponents
        .filter((bit) => (sizes >> BigInt(bit)) & 1n)
        .map((bit) => 2 ** (20 + bit)),
    };
  });
  return { bars };
}

/** Both vendor-specific structures tell their own length, header included, at the same place. */
export function vendorStructureSize(cap: ConfigBytes): number {
  return cap.u32(4) >>> 20;
}

/** PCIe 6.0, 7.9.5. */
export function vendorSpecificExtended(cap: ConfigBytes) {
  return {
    vsecId: cap.u16(4),
    vsecRevision: field(cap.u16(6), 0, 4),
    data: cap.part(8).hexDigits(),
  };
}

/** PCIe 6.0, 7.9.6. */
export function designatedVendorSpecific(cap: ConfigBytes) {
  return {
    dvsecVendorId: cap.u16(4),
    dvsecRevision: field(cap.u16(6), 0, 4),
    dvsecId: cap.u16(8),
    data: cap.part(10).hexDigits(),
  };
}

/** PCIe 6.0, 7.9.15. */
export function precisionTimeMeasurement(cap: ConfigBytes) {
  const capabilities = cap.u32(4);
  const control = cap.u32(8);
  return {
    capabilities: flags(capabilities, { requester: 0, responder: 1, root: 2 }),
    /** Nanoseconds; 0 unknown, 255 more than 254. */
    localClockGranularity: field(capabilities, 8, 8),
    control: flags(control, { enable: 0, rootSelected: 1 }),
    effectiveGranularity: field(control, 8, 8),
  };
}
