/** Commands for people to copy, and for the script of `vfio doctor --fix`. */
import { printable } from '../printable';

/** What no shell gives a meaning of its own. */
const plain = /^[\w@%+=:,./-]+$/;

const quoted = (word: string) =>
  plain.test(word) ? word : `'${printable(word).replaceAll("'", "'\\''")}'`;

/**
 * A command line. What is put in stays a word (a list: one each), whatever it contains: names in sysfs
 * are chosen by devices and drivers.
 */
export function shell(
  parts: TemplateStringsArray,
  ...words: (string | readonly string[])[]
): string {
  const texts = words.map((word) => [word].flat().map(quoted).join(' '));
  return parts.map((part, i) => part + (texts[i] ?? '')).join('');
}
