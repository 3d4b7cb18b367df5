/** Options that the commands about labs share, and how their values are read. */
import { type Command, InvalidArgumentError } from 'commander';
import { LAB_FAILED } from './lab-status';

/** As commander hands them over. */
export interface CommandFlags {
  env?: Record<string, string>;
  timeout?: number;
  tty?: true;
}

export function withCommandOptions(command: Command): Command {
  return command
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : LAB_FAILED))
    .option('-t, --tty', 'run the command on this terminal, also if only its output goes elsewhere')
    .option('--env <NAME[=VALUE]>', 'variable to pass, repeatable', variable)
    .option(
      '--timeout <S>',
      'seconds the command may take, 0 for no limit (default: 600; none on a terminal)',
      number,
    );
}

export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

export function integer(text: string): number {
  const value = number(text);
  if (!Number.isInteger(value)) throw new InvalidArgumentError('Not an integer.');
  return value;
}

function variable(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals > 0) return { ...previous, [text.slice(0, equals)]: text.slice(equals + 1) };
  const value = process.env[text];
  if (value === undefined) throw new InvalidArgumentError('It is not set here; give NAME=VALUE.');
  return { ...previous, [text]: value };
}

function number(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('Not a number.');
  return value;
}
