/** How commands print: tables, colours on a terminal only, JSON without raw control characters. */
import { createColors } from 'picocolors';
import { escapedJson, printable } from '../printable';

/** What a command writes on: standard output, or a test's own. */
export type Output = Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean };

export type Colours = ReturnType<typeof createColors>;

/** https://no-color.org has the variable. */
export function coloursFor(output: Output): Colours {
  return createColors(
    output.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb',
  );
}

export function jsonText(value: unknown): string {
  return `${escapedJson(JSON.stringify(value, null, 2))}\n`;
}

export interface Cell {
  readonly text: string;
  readonly paint?: (text: string) => string;
}

/** Columns as wide as their widest cell; the last one, and a line's end, are not padded. */
export function tableText(rows: readonly (readonly (string | Cell)[])[]): string {
  const cells = rows.map((row) =>
    row.map((cell) => {
      const { text, paint = (plain: string) => plain } =
        typeof cell === 'string' ? { text: cell } : cell;
      return { text: printable(text), paint };
    }),
  );
  const widths: number[] = [];
  for (const row of cells) {
    row.forEach(({ text }, i) => {
      widths[i] = Math.max(widths[i] ?? 0, text.length);
    });
  }
  const line = (row: (typeof cells)[number]) =>
    row
      .map(({ text, paint }, i) =>
        i === row.length - 1 ? paint(text) : paint(text) + ' '.repeat(widths[i]! - text.length),
      )
      .join('  ')
      .trimEnd();
  return cells.map((row) => `${line(row)}\n`).join('');
}
