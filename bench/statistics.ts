/** Medians and spread of a row, and how it is told. */

export interface Row {
  readonly name: string;
  readonly where: 'lab' | 'native';
  readonly unit: string;
  /** One value a run, in the order of the runs, which were interleaved. */
  readonly ours: readonly number[];
  /** Empty where C has nothing to compare. */
  readonly c: readonly number[];
  /** Median of ours by that of C's; null without the latter. */
  readonly ratio: number | null;
}

export function median(values: ArrayLike<number>): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function makeRow(row: Omit<Row, 'ratio'>): Row {
  const ratio = row.c.length === 0 ? null : median(row.ours) / median(row.c);
  return { ...row, ratio: ratio === null ? null : Number(ratio.toPrecision(3)) };
}

/** Median, and the least and the most. */
function told(values: readonly number[]): string {
  if (values.length === 0) return '-';
  const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)];
  return `${middle.toPrecision(4)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`;
}

/** A line of a Markdown table. */
export function tableLine({ name, where, unit, ours, c, ratio }: Row): string {
  return `| ${name} | ${where} | ${unit} | ${told(ours)} | ${told(c)} | ${ratio ?? '-'} |`;
}

export function table(rows: readonly Row[]): string {
  return [
    '| row | where | unit | ours | C | ours / C |',
    '|---|---|---|---|---|---|',
    ...rows.map(tableLine),
  ].join('\n');
}
