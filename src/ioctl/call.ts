/** How every request is made: by name, with a typed error that carries it. */
import { check, systemError, type VfioErrorDetails } from '../errors';
import { native } from '../native';
import { type RequestName, requests } from './abi/requests';

function checked(result: number, ioctl: RequestName, details: VfioErrorDetails): number {
  return check(result, ioctl, { ...details, syscall: 'ioctl', ioctl });
}

const none: VfioErrorDetails = {};

export function callValue(fd: number, ioctl: RequestName, value = 0, details = none): number {
  return checked(native.ioctlValue(fd, requests[ioctl], value), ioctl, details);
}

export function callInt(fd: number, ioctl: RequestName, value: number, details = none): number {
  return checked(native.ioctlInt(fd, requests[ioctl], value), ioctl, details);
}

export function callStruct(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
  details = none,
): number {
  const result = native.ioctlStruct(fd, requests[ioctl], arg.bytes);
  return result < 0 ? checked(result, ioctl, details) : result;
}

/** A request that is made again and again, with the argument as it is now: a call costs little more than the kernel's. */
export function prepareStruct(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
): () => void {
  const call = native.ioctlPrepare(fd, requests[ioctl], arg.bytes);
  if (typeof call === 'number') throw systemError(call, ioctl, { syscall: 'ioctl', ioctl });
  return () => {
    const result = call();
    if (result < 0) checked(result, ioctl, none);
  };
}

/** As callStruct; after success, the descriptor at byte `fdAt` of the struct is the library's. */
export function callStructFd(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
  fdAt: number,
): number {
  return checked(native.ioctlStruct(fd, requests[ioctl], arg.bytes, fdAt), ioctl, none);
}

/** Pinning or letting go of this much takes less than the way to the thread pool and back. */
const BRIEF = 1n << 21n;

/**
 * Whether `callStructSized` calls at once, and not on the thread pool: then the argument is free again
 * as it returns, and can be one that is kept.
 */
export function isBrief(bytes: bigint): boolean {
  return bytes <= BRIEF;
}

/** A request whose time grows with the `bytes` of memory that it is about: on the thread pool if they are many. */
export function callStructSized(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
  bytes: bigint,
): number | Promise<number> {
  return isBrief(bytes) ? callStruct(fd, ioctl, arg) : callStructAsync(fd, ioctl, arg);
}

/**
 * Have a request made when this thread ends without native.farewellCancel, to which this is the
 * argument; `memory` is kept alive until then.
 */
export function farewellStruct(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
  memory: Uint8Array,
): number {
  return checked(native.farewellRequest(fd, requests[ioctl], arg.bytes, memory), ioctl, none);
}

export async function callValueAsync(fd: number, ioctl: RequestName, value = 0): Promise<number> {
  return checked(await native.ioctlValueAsync(fd, requests[ioctl], value), ioctl, none);
}

export async function callStructAsync(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
): Promise<number> {
  return checked(await native.ioctlStructAsync(fd, requests[ioctl], arg.bytes), ioctl, none);
}

/** As callStructFd, on the thread pool: the descriptor may be -1, for none. */
export async function callStructFdAsync(
  fd: number,
  ioctl: RequestName,
  arg: { readonly bytes: Uint8Array },
  fdAt: number,
): Promise<number> {
  return checked(await native.ioctlStructAsync(fd, requests[ioctl], arg.bytes, fdAt), ioctl, none);
}
