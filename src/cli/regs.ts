import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Argument, Command, InvalidArgumentError } from 'commander';
import { openDevice } from '../device/open';
import { type RegionName, regionIndices } from '../device/region';
import { VfioError } from '../errors';
import { readConfigBytes } from '../pci/config/read';
import { interruptible } from './interrupt';
import { jsonText, type Output, tableText } from './output';
import {
  fieldValue,
  type NamedRegister,
  parseRegisterMap,
  type RegisterSource,
  readRegister,
  unnamedRegisters,
} from './register-map';
import { run, status } from './run';
import { type VfTokenFlags, vfTokenOf, withVfToken } from './vf-token';

interface RegsFlags extends VfTokenFlags {
  map?: string;
  offset: string;
  length?: string;
  watch?: number | true;
  unsafeRead?: true;
  json?: true;
}

/** `vfio regs BDF REGION`: registers, by number or by name. */
export function regsCommand(output: Output = process.stdout): Command {
  const command = new Command('regs')
    .description(
      'print the registers of a region (config, bar0 to bar5, rom, vga); all but config need the ' +
        'device bound to vfio-pci, and opening it resets it',
    )
    .argument('<BDF>', 'PCI address, 0000:01:00.0')
    .addArgument(new Argument('<REGION>', 'which one').choices(Object.keys(regionIndices)))
    .option('--map <FILE>', 'names: {"STATUS": {"offset": "0x8", "bits": 32, "fields": {"LU": 1}}}')
    .option('--offset <BYTES>', 'where to start without a map', '0')
    .option('--length <BYTES>', 'how much without a map (256, or to the end)')
    .option('--watch [MS]', 'read again every 1000 ms, or MS, and print what changed', milliseconds)
    .option('--unsafe-read', 'yes, read a BAR: reading a register may have side effects');
  return withVfToken(command, 'the VF token to open the device with')
    .option('--json', 'as a JSON object; with --watch, one per reading')
    .action((bdf: string, region: RegionName, flags: RegsFlags) =>
      run({ output, json: flags.json }, () =>
        interruptible(async (stop) => {
          await printRegisters(bdf, region, flags, output, stop);
          return status.ok;
        }),
      ),
    );
}

/** With --watch until `signal` is aborted. */
export async function printRegisters(
  bdf: string,
  region: RegionName,
  flags: RegsFlags,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const named =
    flags.map === undefined ? undefined : parseRegisterMap(readFileSync(flags.map, 'utf8'));
  const start = numberOf('--offset', flags.offset);
  const length = flags.length === undefined ? undefined : numberOf('--length', flags.length);
  const every = flags.watch === true ? 1000 : flags.watch;

  const { source, close } = await openSource(bdf, region, flags);
  try {
    const available = Math.max(0, source.size - start);
    const count = Math.floor(Math.min(length ?? 256, available) / 4);
    const registers = named ?? unnamedRegisters(start, count);
    let values = registers.map((register) => readRegister(source, register));
    print(output, registers, values, flags);
    while (every !== undefined) {
      await sleep(every, undefined, { signal });
      const before = values;
      values = registers.map((register) => readRegister(source, register));
      const changed = registers.map((_, i) => i).filter((i) => values[i] !== before[i]);
      if (changed.length === 0) continue;
      const pick = <T>(all: readonly T[]) => changed.map((i) => all[i]!);
      if (!flags.json) output.write(`${new Date().toISOString()}\n`);
      print(output, pick(registers), pick(values), flags);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await close();
  }
}

/** setTimeout() takes no more than 31 bits. */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/** At least 1: without a pause it would keep a processor and the device busy. */
function milliseconds(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= LONGEST_WAIT_MS) return value;
  throw new InvalidArgumentError(`It is 1 to ${LONGEST_WAIT_MS} ms.`);
}

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isSafeInteger(value) && value >= 0 && value % 4 === 0)
    return value;
  throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `${option} is not a multiple of 4: ${text}`, {
    hint: 'decimal, or hex with 0x',
  });
}

async function openSource(
  bdf: string,
  region: RegionName,
  { unsafeRead, ...flags }: RegsFlags,
): Promise<{ source: RegisterSource; close(): Promise<void> }> {
  if (region === 'config') {
    const source = configSource(bdf);
    return { source, close: async () => {} };
  }
  if (region !== 'rom' && !unsafeRead) {
    throw new VfioError('ERR_VFIO_INVALID_ARGUMENT', `reading ${region} may change the device`, {
      hint: 'some registers are cleared by reading, or take an entry from a queue; say --unsafe-read if that is fine',
    });
  }
  const device = await openDevice(bdf, vfTokenOf(flags));
  try {
    return { source: device.region(region), close: () => device.close() };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** Config space through sysfs, read anew for each register: no need to open, and so to reset, the device. */
function configSource(bdf: string): RegisterSource {
  const { length } = readConfigBytes(bdf);
  const view = (offset: number) => {
    const bytes = readConfigBytes(bdf);
    if (offset + 4 > bytes.length) throw outside(offset, bytes.length);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  };
  return {
    size: length,
    read8: (offset) => view(offset & ~3).getUint8(offset),
    read16: (offset) => view(offset & ~3).getUint16(offset, true),
    read32: (offset) => view(offset).getUint32(offset, true),
  };
}

function outside(offset: number, size: number): VfioError {
  const message = `offset 0x${offset.toString(16)} is not inside config (${size} bytes)`;
  return new VfioError('ERR_VFIO_OUT_OF_RANGE', message);
}

function print(
  output: Output,
  registers: readonly NamedRegister[],
  values: readonly number[],
  { json }: RegsFlags,
): void {
  if (json) {
    const entries = registers.map((register, i) => [register.name, describe(register, values[i]!)]);
    output.write(jsonText(Object.fromEntries(entries)));
    return;
  }
  const rows = registers.map((register, i) => {
    const { value, fields } = describe(register, values[i]!);
    const parts = Object.entries(fields).map(([name, part]) => `${name}=0x${part.toString(16)}`);
    return [
      register.name,
      `0x${value.toString(16).padStart(register.bits / 4, '0')}`,
      parts.join(' '),
    ];
  });
  output.write(tableText(rows));
}

function describe(register: NamedRegister, value: number) {
  const fields = register.fields.map((field) => [field.name, fieldValue(value, field)] as const);
  return { offset: register.offset, value, fields: Object.fromEntries(fields) };
}
