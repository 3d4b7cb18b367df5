/** What a C compiler makes of the kernel's headers: every symbol's value, size and place. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type HeaderSymbols, headerSymbols } from './uapi-header';

export interface CompiledAbi {
  requests: Record<string, number>;
  /** As unsigned 32-bit, which is what the fields they go into hold; or strings. */
  constants: Record<string, number | string>;
  structs: Record<string, { size: number; fields: Record<string, [offset: number, size: number]> }>;
}

const headers = ['linux/vfio.h', 'linux/iommufd.h'];

/** A flexible array has no size that C can tell; 0 then. */
const MACROS = `
#include <stddef.h>
#include <stdio.h>
${headers.map((header) => `#include <${header}>`).join('\n')}
#define NUMBER(x) _Generic((x), char *: 0u, default: (unsigned)(long)(x))
#define STRING(x) _Generic((x), char *: (x), default: NULL)
#define CONSTANT(x) \\
  if (STRING(x)) printf("constant ${'%s'} \\"%s\\"\\n", #x, (char *)STRING(x)); \\
  else printf("constant ${'%s'} %u\\n", #x, NUMBER(x));
#define REQUEST(x) printf("request %s %u\\n", #x, (unsigned)(x));
#define STRUCT(s) printf("struct %s %zu\\n", #s, sizeof(struct s));
#define FIELD(s, f) printf("field %s %zu %zu\\n", #f, offsetof(struct s, f), sizeof(((struct s *)0)->f));
#define FLEXIBLE(s, f) printf("field %s %zu 0\\n", #f, offsetof(struct s, f));
`;

function isFlexible(source: string, struct: string, field: string): boolean {
  const body = source.slice(source.search(new RegExp(`^struct\\s+${struct}\\s*\\{`, 'm')));
  return new RegExp(`\\b${field}\\s*\\[\\s*\\]`).test(body.slice(0, body.search(/^\}/m)));
}

function program(symbols: HeaderSymbols, source: string): string {
  const structs = Object.entries(symbols.structs).flatMap(([struct, fields]) => [
    `STRUCT(${struct})`,
    ...fields.map((field) =>
      isFlexible(source, struct, field)
        ? `FLEXIBLE(${struct}, ${field})`
        : `FIELD(${struct}, ${field})`,
    ),
  ]);
  const lines = [
    ...symbols.requests.map((name) => `REQUEST(${name})`),
    ...symbols.constants.map((name) => `CONSTANT(${name})`),
    ...structs,
  ];
  return `${MACROS}int main(void) {\n${lines.join('\n')}\nreturn 0;\n}\n`;
}

function run(source: string, include: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-abi-'));
  try {
    const file = join(directory, 'probe.c');
    const binary = join(directory, 'probe');
    writeFileSync(file, source);
    execFileSync('gcc', ['-w', '-isystem', include, '-o', binary, file], { stdio: 'pipe' });
    return execFileSync(binary, { encoding: 'utf8' });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function parse(output: string): CompiledAbi {
  const abi: CompiledAbi = { requests: {}, constants: {}, structs: {} };
  let fields: CompiledAbi['structs'][string]['fields'] = {};
  for (const line of output.trimEnd().split('\n')) {
    const [kind, name, value, size] = line.split(' ') as [string, string, string, string];
    if (kind === 'request') abi.requests[name] = Number(value);
    else if (kind === 'constant') abi.constants[name] = JSON.parse(value);
    else if (kind === 'struct') {
      fields = {};
      abi.structs[name] = { size: Number(value), fields };
    } else fields[name] = [Number(value), Number(size)];
  }
  return abi;
}

/** @param include a directory with `linux/vfio.h` in it */
export function compileAbi(include: string): CompiledAbi {
  const source = headers
    .map((header) => join(include, header))
    .filter((path) => existsSync(path))
    .map((path) => readFileSync(path, 'utf8').replace(/\/\*.*?\*\//gs, ' '))
    .join('\n');
  return parse(run(program(headerSymbols(source), source), include));
}
