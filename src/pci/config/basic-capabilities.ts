/** Capabilities of conventional PCI, from their registers to plain data. */
import { type ConfigBytes, field, flags, hex } from './config-bytes';

/** PCI Bus Power Management Interface 1.2, 3.2; PCIe 6.0, 7.5.2. */
export function powerManagement(cap: ConfigBytes) {
  const capabilities = cap.u16(2);
  const control = cap.u16(4);
  return {
    version: field(capabilities, 0, 3),
    ...flags(capabilities, { pmeClock: 3, deviceSpecificInit: 5, d1: 9, d2: 10 }),
    /** Milliamperes that it takes from 3.3Vaux. */
    auxCurrent: [0, 55, 100, 160, 220, 270, 320, 375][field(capabilities, 6, 3)]!,
    pmeFrom: flags(capabilities, { d0: 11, d1: 12, d2: 13, d3hot: 14, d3cold: 15 }),
    state: (['D0', 'D1', 'D2', 'D3hot'] as const)[field(control, 0, 2)]!,
    ...flags(control, { noSoftReset: 3, pmeEnable: 8, pmeStatus: 15 }),
    dataSelect: field(control, 9, 4),
    dataScale: field(control, 13, 2),
    bridge: flags(cap.u8(6), { b2b3: 6, busPowerClockControl: 7 }),
  };
}

/** PCI 3.0, 6.8.1; PCIe 6.0, 7.7.1. */
export function msi(cap: ConfigBytes) {
  const control = cap.u16(2);
  const { is64Bit, perVectorMasking } = flags(control, { is64Bit: 7, perVectorMasking: 8 });
  const data = is64Bit ? 0x0c : 0x08;
  return {
    enabled: field(control, 0, 1) === 1,
    is64Bit,
    perVectorMasking,
    /** How many vectors it asks for, and how many it was given; powers of two. */
    vectorsCapable: 2 ** field(control, 1, 3),
    vectorsEnabled: 2 ** field(control, 4, 3),
    address: is64Bit ? cap.hex64(4) : hex(cap.u32(4)),
    data: cap.u16(data),
    mask: perVectorMasking ? cap.u32(data + 4) : null,
    pending: perVectorMasking ? cap.u32(data + 8) : null,
  };
}

export function msiSize(cap: ConfigBytes): number {
  const { is64Bit, perVectorMasking } = flags(cap.u16(2), { is64Bit: 7, perVectorMasking: 8 });
  return 0x0a + (is64Bit ? 4 : 0) + (perVectorMasking ? 10 : 0);
}

/** In which BAR something is, and where in it, in bytes. */
function place(register: number) {
  return { bar: field(register, 0, 3), offset: (register & ~7) >>> 0 };
}

/** PCI 3.0, 6.8.2; PCIe 6.0, 7.7.2. */
export function msix(cap: ConfigBytes) {
  const control = cap.u16(2);
  return {
    ...flags(control, { functionMask: 14, enabled: 15 }),
    /** Number of vectors, each with 16 bytes in the table. */
    tableSize: field(control, 0, 11) + 1,
    table: place(cap.u32(4)),
    /** The pending bit array. */
    pba: place(cap.u32(8)),
  };
}

/** PCI 3.0, appendix I. The data itself is read through these registers, which this does not do. */
export function vitalProductData(cap: ConfigBytes) {
  return { address: field(cap.u16(2), 0, 15), done: field(cap.u16(2), 15, 1) === 1 };
}

/** PCI-to-PCI Bridge 1.2, 3.2.4.4. */
export function subsystemId(cap: ConfigBytes) {
  return { subsystemVendorId: cap.u16(4), subsystemId: cap.u16(6) };
}

/** PCI 3.0, appendix H: all but the length is the vendor's. */
export function vendorSpecific(cap: ConfigBytes) {
  return { data: cap.part(3).hexDigits() };
}

/** PCI Advanced Capabilities ECN: resets of conventional functions. */
export function advancedFeatures(cap: ConfigBytes) {
  return {
    ...flags(cap.u8(3), { transactionsPendingCapable: 0, functionLevelReset: 1 }),
    transactionsPending: field(cap.u8(5), 0, 1) === 1,
  };
}
