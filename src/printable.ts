/** Text that others chose (names in sysfs, of processes, in pci.ids), made fit for a terminal. */

/** C0 and C1 controls, DEL, line separators, and what turns the direction of writing. */
const unfit = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** JSON leaves DEL, C1 controls and marks of direction as they are, and terminals obey them. */
export function escapedJson(json: string): string {
  const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  // The line breaks between its values are JSON's own.
  return json.replace(unfit, (char) => (char === '\n' ? char : escaped(char)));
}

/** The text with `?` in place of each character that would move a cursor or colour a line. */
export function printable(text: string): string {
  return text.replace(unfit, '?');
}

/** Its lines stay lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}
