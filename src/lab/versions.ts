const collator = new Intl.Collator('en', { numeric: true });

/** Orders versions of one package, oldest first: numbers in them count as numbers. */
export function compareVersions(a: string, b: string): number {
  return collator.compare(a, b);
}
