import { printable } from '../printable';

/** Neither may stand in XML, not even as a reference (XML 1.0, 2.2). */
const unfit = /[\ufffe\uffff]|\p{Cs}/gu;

/** Text for elements and quoted attributes of XML and HTML. */
export function markup(text: string): string {
  return printable(text)
    .replace(unfit, '\ufffd')
    .replace(/[<>&"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
