const collator = new Intl.Collator('en', { numeric: true });

/** Orders versions of one package, oldest first: numbers in them count as numbers. */
export function compareVersions(a: string, b: string): number {
  return collator.compare(a, b);
}

/** Compares major and minor of upstream versions; Debian's may have an epoch before them. */
export function isAtLeast(version: string, least: string): boolean {
  const [major, minor] = majorMinor(version);
  const [leastMajor, leastMinor] = majorMinor(least);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

function majorMinor(version: string): [major: number, minor: number] {
  const match = /^(?:\d+:)?(\d+)(?:\.(\d+))?/.exec(version);
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}

/** A version without Debian's epoch: `11.1.3+ds-1` for `1:11.1.3+ds-1`. */
export function withoutEpoch(version: string): string {
  return version.replace(/^\d+:/, '');
}
