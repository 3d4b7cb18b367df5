/**
 * What apt knows about one archive: a stanza of a deb822 `.sources` file, or one line of a
 * `.list` file in the same form. Field names in lower case; values as written.
 */
export type AptSource = ReadonlyMap<string, string>;

/** A distribution, from os-release. */
export interface Distribution {
  /** Such as `Debian GNU/Linux 12 (bookworm)`; for messages. */
  name: string;
  /** Code names of this release and those it derives from, such as `bookworm`. */
  codenames: readonly string[];
}

/** Reads /etc/os-release. */
export function parseOsRelease(text: string): Distribution {
  const fields = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^([A-Z_]+)=(.*)$/gm)) {
    fields.set(name ?? '', (value ?? '').replace(/^(["'])(.*)\1$/, '$2'));
  }
  const codenames = ['VERSION_CODENAME', 'UBUNTU_CODENAME', 'DEBIAN_CODENAME'].flatMap(
    (name) => fields.get(name) ?? [],
  );
  return { name: fields.get('PRETTY_NAME') ?? 'this system', codenames };
}

/** Reads a file of sources.list.d; `path` tells which of the two formats it has. */
export function parseSources(path: string, text: string): AptSource[] {
  return path.endsWith('.sources') ? parseDeb822(text) : text.split('\n').flatMap(parseLine);
}

/** Further suites of the distribution's archive, by the release that they are to be added to. */
export type FurtherSuites = Readonly<Record<string, readonly string[]>>;

/** A release whose own backports have stopped takes what is newer from the next one. */
export const LATER_SUITES: FurtherSuites = { bookworm: ['trixie', 'trixie-backports'] };

/**
 * The archive of the distribution itself, as this machine reaches it, plus its backports. Other
 * archives (of third parties) have no part in what the lab installs. Empty if there is none.
 */
export function distributionSources(
  sources: readonly AptSource[],
  distribution: Distribution,
  further: FurtherSuites = {},
): AptSource[] {
  const releases = [...distribution.codenames, 'stable'];
  return sources.flatMap((source) => {
    if (source.get('enabled')?.toLowerCase() === 'no') return [];
    if (!words(source.get('types')).includes('deb')) return [];
    const suites = words(source.get('suites')).filter((suite) =>
      releases.some((release) => suite === release || suite.startsWith(`${release}-`)),
    );
    if (suites.length === 0) return [];
    const added = suites
      .filter((suite) => releases.includes(suite))
      .flatMap((suite) => [`${suite}-backports`, ...(further[suite] ?? [])]);
    const all = [...new Set([...suites, ...added])].join(' ');
    return [new Map([...source, ['types', 'deb'], ['suites', all]])];
  });
}

/** Writes sources in the deb822 format. */
export function formatSources(sources: readonly AptSource[]): string {
  return sources.map((source) => [...source].map(formatField).join('')).join('\n');
}

/** A value that begins in the next line has no blank before it. */
function formatField([name, value]: [string, string]): string {
  return value.startsWith('\n') ? `${name}:${value}\n` : `${name}: ${value}\n`;
}

function parseDeb822(text: string): AptSource[] {
  const uncommented = text.replace(/^#.*\n?/gm, '');
  return uncommented.split(/\n\s*\n/).flatMap((stanza) => {
    const fields = new Map<string, string>();
    // A value goes on in the lines that begin with a blank (an inline key does).
    for (const [, name, value] of stanza.matchAll(/^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)/gm)) {
      fields.set((name ?? '').toLowerCase(), (value ?? '').trimEnd());
    }
    return fields.size === 0 ? [] : [fields];
  });
}

/** `deb [arch=amd64 signed-by=KEYRING] URI SUITE COMPONENT...` */
function parseLine(line: string): AptSource[] {
  const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)([^#]*)/.exec(line);
  if (match === null) return [];
  const [, type = '', options = '', uri = '', suite = '', components = ''] = match;
  const source = new Map([
    ['types', type],
    ['uris', uri],
    ['suites', suite],
  ]);
  // A suite that ends in a slash is a flat archive without components.
  if (!suite.endsWith('/')) source.set('components', words(components).join(' '));
  for (const option of words(options)) {
    const equals = option.indexOf('=');
    if (equals < 0) continue;
    const name = option.slice(0, equals).toLowerCase();
    const value = option.slice(equals + 1);
    // Only these have another name in the other format, and lists there have blanks for commas.
    const renamed = { arch: 'architectures', lang: 'languages', target: 'targets' }[name] ?? name;
    source.set(renamed, name === 'signed-by' ? value : value.replaceAll(',', ' '));
  }
  return [source];
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter(Boolean);
}
