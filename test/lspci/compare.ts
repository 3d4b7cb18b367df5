/**
 * Whether lspci says the same of a device's config space. Its output is not taken apart: from what
 * was decoded come the fragments that it must have, in its own order.
 */
import type { Capability, ConfigSpace, ExtendedCapability } from 'vfio';
import { basicFragments } from './basic';
import { expressFragments } from './express';
import { extendedFragments } from './extended';
import { headerFragments } from './header';

/** A text that must be there, or one that need only be there if `where` is. */
export type Fragment = string | { where: string; text: string };

/** Fragments of what stands between the name of a register, `DevCap:`, and the next one's. */
export interface RegisterFragments {
  register: string;
  /** lspci does not print it for every type of function. */
  optional?: true;
  fragments: readonly Fragment[];
}

const REGISTER = / (Dev|Lnk|Slt|Root)(Cap|Ctl|Sta)2?: /;

/** Of an optional part of a line. */
export const maybe = (where: string, text: string): Fragment => ({ where, text });

export const flag = (name: string, on: boolean) => `${name}${on ? '+' : '-'}`;

/** `CorrErr+ NonFatalErr-`. */
export function flagLine<K extends string>(
  names: Readonly<Record<K, string>>,
  on: Readonly<Record<NoInfer<K>, boolean>>,
): string {
  return Object.entries<string>(names)
    .map(([key, name]) => flag(name, on[key as K]))
    .join(' ');
}

export const hexDigits = (value: number | bigint | string, width: number) =>
  BigInt(value).toString(16).padStart(width, '0');

/** The first fragment that is missing; undefined if all are there. */
function missing(
  text: string,
  fragments: readonly (Fragment | RegisterFragments)[],
): string | undefined {
  let at = 0;
  for (const fragment of fragments) {
    if (typeof fragment === 'object' && 'register' in fragment) {
      const absent = missingInRegister(text, fragment);
      if (absent !== undefined) return absent;
      continue;
    }
    const wanted = typeof fragment === 'string' ? fragment : fragment.text;
    if (typeof fragment === 'object' && !text.includes(fragment.where, at)) continue;
    const found = text.indexOf(wanted, at);
    if (found < 0) return `${wanted}\n  is not in: ${text.slice(at)}`;
    at = found + wanted.length;
  }
  return undefined;
}

function missingInRegister(text: string, wanted: RegisterFragments): string | undefined {
  const { register, optional, fragments } = wanted;
  const start = text.indexOf(` ${register}: `);
  if (start < 0) return optional ? undefined : `no ${register} in ${text}`;
  const rest = text.slice(start + register.length + 2);
  const end = rest.search(REGISTER);
  return missing(end < 0 ? rest : rest.slice(0, end), fragments);
}

/** Header, and capabilities by what stands in brackets: `[40]`, `[100 v1]`. */
function sections(output: string): { header: string; capabilities: Map<string, string> } {
  const plain = output.replace(/[ \t]+/g, ' ').replace(/\n /g, '\n');
  const [header = '', ...rest] = plain.split(/\n(?=Capabilities: \[)/);
  const capabilities = rest.map((text): [string, string] => {
    const [, place = '', body = ''] = /^Capabilities: \[([^\]]+)\] ?(.*)$/s.exec(text) ?? [];
    return [place, body.replace(/\nKernel (driver|modules).*$/s, '').replace(/\n/g, ' ')];
  });
  return { header: header.replace(/\n/g, ' '), capabilities: new Map(capabilities) };
}

function fragments(
  cap: Capability | ExtendedCapability,
  config: ConfigSpace,
): readonly (Fragment | RegisterFragments)[] {
  return (
    basicFragments(cap, config) ?? expressFragments(cap) ?? extendedFragments(cap, config) ?? []
  );
}

/** What lspci says otherwise; empty if it agrees. */
export function differences(config: ConfigSpace, output: string): string[] {
  const { header, capabilities } = sections(output);
  const ours = [...config.capabilities, ...config.extendedCapabilities];
  const place = ({ offset, version }: (typeof ours)[number]) =>
    offset < 0x100 ? hexDigits(offset, 2) : `${hexDigits(offset, 3)} v${version}`;
  const places = ours.map(place);
  const found: (string | undefined)[] = [
    missing(header, headerFragments(config.header)),
    ...ours.map((cap) =>
      missing(capabilities.get(place(cap)) ?? 'no such capability', fragments(cap, config)),
    ),
    [...capabilities.keys()].join() === places.join()
      ? undefined
      : `capabilities ${places}, lspci: ${[...capabilities.keys()]}`,
  ];
  return found.filter((difference) => difference !== undefined);
}
