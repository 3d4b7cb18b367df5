import { Command } from 'commander';
import { type ConfigSpace, decodeConfigSpace } from '../pci/config/decode';
import { readConfigBytes } from '../pci/config/read';
import { readPciNames } from '../pci/ids';
import { describeDevice } from '../pci/inventory';
import { readPciDevice } from '../pci/sysfs';
import { printable } from '../printable';
import { deviceTitle } from './list';
import { type Colours, coloursFor, jsonText, type Output } from './output';
import { run, status } from './run';

interface ConfigFlags {
  json?: true;
  raw?: true;
}

/** `vfio config BDF`: config space, decoded. */
export function configCommand(output: Output = process.stdout): Command {
  return new Command('config')
    .description("decode a device's PCI config space, whatever driver it has (root sees all of it)")
    .argument('<BDF>', 'PCI address, 0000:01:00.0')
    .option('--raw', 'the bytes in hex, as lspci -xxxx prints them and lspci -F reads them')
    .option('--json', 'as a JSON object')
    .action((bdf: string, { json, raw }: ConfigFlags) =>
      run({ output, json }, () => {
        const pci = readPciDevice(bdf);
        const bytes = readConfigBytes(bdf);
        if (raw && json) {
          output.write(jsonText({ bdf: pci.bdf, bytes: Buffer.from(bytes).toString('hex') }));
        } else if (raw) {
          const title = deviceTitle(describeDevice(pci, readPciNames()));
          output.write(`${pci.bdf} ${printable(title)}\n${hexDump(bytes)}\n`);
        } else {
          const config = decodeConfigSpace(bytes);
          output.write(json ? jsonText(config) : configText(config, coloursFor(output)));
        }
        return status.ok;
      }),
    );
}

/** `00: 86 80 c9 10 ...`, 16 bytes a line; offsets of two digits or three, as lspci has them. */
function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 16) {
    const row = [...bytes.subarray(offset, offset + 16)];
    const digits = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    lines.push(`${offset.toString(16).padStart(2, '0')}: ${digits}\n`);
  }
  return lines.join('');
}

function configText(config: ConfigSpace, colours: Colours): string {
  const lines: string[] = [
    colours.bold(`header, ${config.header.type}`),
    ...treeLines(config.header),
  ];
  for (const capability of [...config.capabilities, ...config.extendedCapabilities]) {
    const { id, name, version, offset, length, raw, kind, ...registers } = capability;
    const title = `[${offset.toString(16).padStart(2, '0')}] ${name}`;
    lines.push(colours.bold(`${title}${version > 0 ? ` version ${version}` : ''}`));
    lines.push(...(kind === 'other' ? [`  ${length} bytes: ${raw}`] : treeLines(registers)));
  }
  if (config.size <= HEADER_SIZE && config.header.status.capabilityList) {
    lines.push(
      colours.red(
        `only ${config.size} bytes are readable here, without the capabilities: root sees all`,
      ),
    );
  }
  for (const { offset, message } of config.problems) {
    lines.push(colours.red(`problem at 0x${offset.toString(16)}: ${message}`));
  }
  return `${lines.map((line) => `${line}\n`).join('')}`;
}

/** What the kernel gives without CAP_SYS_ADMIN. */
const HEADER_SIZE = 64;

/** Registers that are best read in hex. */
const hexNames = /^(vendorId|deviceId|class|revision|subsystem|vfDeviceId|.*PageSize.*)/;

/** Flags on one line, `memory+ busMaster-`; the rest a line each, parts indented. */
function treeLines(values: object, indent = '  '): string[] {
  const entries = Object.entries(values as Record<string, unknown>);
  const flags = entries.filter(([, value]) => typeof value === 'boolean');
  const lines =
    flags.length > 0 ? [indent + flags.map(([name, on]) => name + (on ? '+' : '-')).join(' ')] : [];
  for (const [name, value] of entries) {
    if (typeof value === 'boolean' || value === null || value === undefined) continue;
    if (typeof value === 'object') {
      const nested = treeLines(value, `${indent}  `);
      if (nested.length > 0) lines.push(`${indent}${name}:`, ...nested);
    } else if (typeof value === 'number' && hexNames.test(name)) {
      lines.push(`${indent}${name}: 0x${value.toString(16)}`);
    } else {
      lines.push(`${indent}${name}: ${printable(String(value))}`);
    }
  }
  return lines;
}
