/**
 * Controller registers of NVMe in BAR 0, as far as the driver uses them. Names and numbers in
 * parentheses are those of the NVM Express Base Specification 2.0 (3.1.3, figure 35).
 */
import { defineRegisters } from 'vfio';

export const REGISTERS = defineRegisters({
  readOnly: {
    /** Controller capabilities (3.1.3.1). */
    CAP_LOW: 0x00,
    CAP_HIGH: 0x04,
    VS: 0x08,
    /** Controller status (3.1.3.6). */
    CSTS: 0x1c,
  },
  readWrite: {
    /** Controller configuration (3.1.3.5). */
    CC: 0x14,
    /** Admin queue attributes and addresses (3.1.3.8 to 3.1.3.10). */
    AQA: 0x24,
    ASQ_LOW: 0x28,
    ASQ_HIGH: 0x2c,
    ACQ_LOW: 0x30,
    ACQ_HIGH: 0x34,
  },
});

export const CC_ENABLE = 1 << 0;
/** Entry sizes as powers of two: 64 bytes to submit, 16 to complete; 4 KiB pages, NVM command set. */
export const CC_ENTRY_SIZES = (6 << 16) | (4 << 20);
export const CSTS_READY = 1 << 0;
export const CSTS_FATAL = 1 << 1;

const DOORBELLS = 0x1000;

/** Tail doorbell of a submission queue (NVMe over PCIe 1.0, 3.1.2.1). `stride` is CAP.DSTRD. */
export const tailDoorbell = (queue: number, stride: number) =>
  DOORBELLS + 2 * queue * (4 << stride);

/** Head doorbell of a completion queue (3.1.2.2). */
export const headDoorbell = (queue: number, stride: number) =>
  DOORBELLS + (2 * queue + 1) * (4 << stride);
