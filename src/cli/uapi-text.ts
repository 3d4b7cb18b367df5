/** The table of the ABI, for people. */
import type { UapiFinding } from '../device/uapi-findings';
import type { UapiDocument } from './uapi-document';

type Found = Readonly<Record<string, UapiFinding>> | undefined;

/** Ids are small and go by their decimal numbers; requests, masks and high bits by their hex. */
function value(constant: number | string): string {
  if (typeof constant === 'string') return JSON.stringify(constant);
  return constant < 64 ? String(constant) : `0x${constant.toString(16)}`;
}

function verdict(finding: UapiFinding | undefined): string {
  if (finding === undefined) return '';
  const { present, because } = finding;
  return `  ${present === null ? 'unknown' : present ? 'yes' : 'no'} (${because})`;
}

export function uapiText({ ioctls, structs, since, probe, ...tables }: UapiDocument): string {
  const lines: string[] = [];
  const section = (title: string) => lines.push('', title);
  const width = 52;
  const rows = (table: Readonly<Record<string, number | string>>, found?: Found) => {
    for (const [name, constant] of Object.entries(table)) {
      const row = `  ${name.padEnd(width)} ${value(constant).padEnd(16)} ${since[name]}`;
      lines.push(`${row}${verdict(found?.[name])}`);
    }
  };

  lines.push('name, value, kernel release that brought it');
  if (probe) lines.push(`${probe.device} on Linux ${probe.kernel}: whether it is there`);
  section('Requests of ioctl(2)');
  rows(ioctls, probe?.ioctls);
  section('Features of VFIO_DEVICE_FEATURE');
  rows(tables.features, probe?.features);
  section('Capabilities of info requests');
  rows(tables.capabilities, probe?.capabilities);
  section('Constants');
  rows(tables.constants, probe?.extensions);
  section('Structs: offset and size of each field');
  for (const [name, { size, fields }] of Object.entries(structs)) {
    lines.push(`  ${`struct ${name}`.padEnd(width)} ${`${size} bytes`.padEnd(16)} ${since[name]}`);
    for (const [field, place] of Object.entries(fields)) {
      lines.push(`${`${place.offset}`.padStart(8)} ${`${place.size}`.padStart(4)}  ${field}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
