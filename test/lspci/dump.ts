/** Config space in the form that `lspci -xxxx` prints and `lspci -F` takes. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** By address; lines that are left out are zeros up to the next multiple of 256 that lspci knows. */
export function parseDump(text: string): Map<string, Uint8Array> {
  const devices = text.split(/\n\s*\n/).filter((block) => /^[\da-f:]+\.\d/.test(block.trim()));
  return new Map(devices.map((block) => parseDevice(block.trim())));
}

function parseDevice(block: string): [bdf: string, bytes: Uint8Array] {
  const [title = '', ...lines] = block.split('\n');
  const rows = lines.map((line) => {
    const [offset = '', bytes = ''] = line.split(': ');
    return {
      offset: Number.parseInt(offset, 16),
      bytes: Buffer.from(bytes.replace(/ /g, ''), 'hex'),
    };
  });
  const end = Math.max(...rows.map(({ offset, bytes }) => offset + bytes.length));
  const config = new Uint8Array(end <= 64 ? 64 : end <= 256 ? 256 : 4096);
  for (const { offset, bytes } of rows) config.set(bytes, offset);
  return [title.split(' ')[0]!, config];
}

const digits = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0'));

/** With the lines of zeros left out if `sparse`, but for the last. */
export function formatDump(devices: ReadonlyMap<string, Uint8Array>, sparse: boolean): string {
  const blocks = [...devices].map(([bdf, config]) => {
    const lines: string[] = [];
    for (let at = 0; at < config.length; at += 16) {
      const row = config.subarray(at, at + 16);
      if (sparse && at + 16 < config.length && row.every((byte) => byte === 0)) continue;
      lines.push(`${at.toString(16).padStart(2, '0')}: ${digits(row).join(' ')}`);
    }
    return `${bdf} device\n${lines.join('\n')}\n`;
  });
  return blocks.join('\n');
}

export const lspciInstalled = spawnSync('lspci', ['--version']).status === 0;

/** What lspci makes of bytes, by address. */
export function lspciOf(devices: ReadonlyMap<string, Uint8Array>): Map<string, string> {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-lspci-'));
  try {
    const file = join(directory, 'dump');
    writeFileSync(file, formatDump(devices, false));
    const args = ['-F', file, '-D', '-vvv', '-n'];
    return byAddress(
      execFileSync('lspci', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Output of `lspci -D -vvv -n`, by address. */
export function byAddress(output: string): Map<string, string> {
  const blocks = output.split(/\n\n/).filter((block) => block.trim() !== '');
  return new Map(blocks.map((block) => [block.split(' ')[0]!, block]));
}
