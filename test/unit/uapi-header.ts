/** The symbols that a header of the kernel's user-space ABI defines, found by its text. */

export interface HeaderSymbols {
  /** Macros with a value, and enumerators. */
  readonly constants: string[];
  /** Macros that are `_IO(type, nr)`. */
  readonly requests: string[];
  /** Fields in order, members of unnamed unions among them. */
  readonly structs: Record<string, string[]>;
}

const withoutComments = (text: string) => text.replace(/\/\*.*?\*\//gs, ' ');

function macros(text: string): [name: string, value: string][] {
  const definitions = text.matchAll(/^[ \t]*#[ \t]*define[ \t]+(\w+)(?!\w|\()((?:\\\n|.)*)$/gm);
  return [...definitions].map(([, name, value]) => [name!, value!.replaceAll('\\\n', ' ').trim()]);
}

function enumerators(text: string): string[] {
  const bodies = [...text.matchAll(/\benum\s*\w*\s*\{(.*?)\}/gs)].map(([, body]) => body!);
  return bodies.flatMap((body) =>
    body
      .split(',')
      .map((entry) => /^\s*(\w+)/.exec(entry)?.[1])
      .filter((name) => name !== undefined),
  );
}

/** What is between the brace at the end of `head` and the one that closes it. */
function bodyAt(text: string, start: number): string {
  let depth = 1;
  let end = start;
  while (depth > 0) {
    const char = text[end++];
    if (char === undefined) throw new Error('unbalanced braces');
    depth += char === '{' ? 1 : char === '}' ? -1 : 0;
  }
  return text.slice(start, end - 1);
}

function fields(body: string): string[] {
  const flat = body.replace(/union\s*\{|\}\s*;/g, ' ');
  return flat
    .split(';')
    .map((declaration) =>
      /(\w+)\s*(?:\[[^\]]*\]\s*)?(?:__counted_by\(\w+\)\s*)?$/.exec(declaration),
    )
    .filter((match) => match !== null)
    .map(([, name]) => name!);
}

function structs(text: string): Record<string, string[]> {
  const plain = text.replace(/^[ \t]*#(?:\\\n|.)*$/gm, '');
  const heads = [...plain.matchAll(/^struct\s+(\w+)\s*\{/gm)];
  return Object.fromEntries(
    heads.map((head) => [head[1]!, fields(bodyAt(plain, head.index + head[0].length))]),
  );
}

/** Macros without a value (include guards) and with arguments are left out. */
export function headerSymbols(header: string): HeaderSymbols {
  const text = withoutComments(header);
  const valued = macros(text).filter(([, value]) => value !== '');
  const isRequest = (value: string) => /^_IOW?R?\s*\(/.test(value);
  return {
    requests: valued.filter(([, value]) => isRequest(value)).map(([name]) => name),
    constants: [
      ...valued.filter(([, value]) => !isRequest(value)).map(([name]) => name),
      ...enumerators(text.replace(/^[ \t]*#(?:\\\n|.)*$/gm, '')),
    ],
    structs: structs(text),
  };
}
