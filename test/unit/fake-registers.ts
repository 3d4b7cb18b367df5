import { constants } from 'node:os';
import type { NativeAccessors, RegisterAccessors } from '../../src/native';

const { EBADF, EINVAL, ERANGE } = constants.errno;

/** Registers in memory; `state` gives the errno that accesses fail with, or 0. */
export function accessors(view: DataView, state: () => number): NativeAccessors {
  let closed = false;
  const refuse = (offset: number, width: number): number => {
    if (closed) return -EBADF;
    if (state()) return -state();
    if (!Number.isInteger(offset) || offset < 0 || offset + width > view.byteLength) return -ERANGE;
    return offset % width ? -EINVAL : 0;
  };
  const put = (write: () => void): number => {
    write();
    return 0;
  };
  const exchange = new ArrayBuffer(12);
  const at = new Uint32Array(exchange, 0, 1);
  const word = new Uint32Array(exchange, 4, 1);
  const error = new Int32Array(exchange, 8, 1);
  const found = (result: number): void => {
    error[0] = Math.min(result, 0);
    if (result >= 0) word[0] = result;
  };
  const registers = {
    read8: (o) => refuse(o, 1) || view.getUint8(o),
    read16: (o) => refuse(o, 2) || view.getUint16(o, true),
    read32: (o) => refuse(o, 4) || view.getUint32(o, true),
    read64: (o) => refuse(o, 8) || view.getBigUint64(o, true),
    read64LoHi: () => -EINVAL,
    readBatch32: () => -EINVAL,
    write8: (o, v) => refuse(o, 1) || put(() => view.setUint8(o, v)),
    write16: (o, v) => refuse(o, 2) || put(() => view.setUint16(o, v, true)),
    write32: (o, v) => refuse(o, 4) || put(() => view.setUint32(o, v, true)),
    write64: (o, v) => refuse(o, 8) || put(() => view.setBigUint64(o, v, true)),
    write64LoHi: () => -EINVAL,
    close: () => {
      closed = true;
    },
  } satisfies RegisterAccessors;
  return {
    ...registers,
    exchange,
    exchangeRead32: () => found(registers.read32(at[0]!)),
    exchangeWrite32: () => found(registers.write32(at[0]!, word[0]!)),
  };
}
