/** What there is to complete, read from the program itself, so that it cannot be out of date. */
import type { Argument, Command, Option } from 'commander';

/** What a word can be: a PCI address, a file, a directory, one of a list, or anything. */
export type Kind = 'bdf' | 'file' | 'directory' | 'any' | readonly string[];

export interface OptionModel {
  /** `--format`, `-h`. */
  readonly names: readonly string[];
  readonly description: string;
  /** undefined for a flag. */
  readonly value: Kind | undefined;
  /** Its value may be left out. */
  readonly optional: boolean;
}

export interface ArgumentModel {
  readonly name: string;
  readonly kind: Kind;
  readonly variadic: boolean;
}

export interface CommandModel {
  /** `['lab', 'kernel']`; empty for the program. */
  readonly path: readonly string[];
  readonly description: string;
  readonly options: readonly OptionModel[];
  readonly arguments: readonly ArgumentModel[];
  readonly commands: readonly CommandModel[];
}

/** By the placeholder's name: `<BDF>`, `<FILE>`, `<DIR>`. */
const kinds: Readonly<Record<string, Kind>> = { BDF: 'bdf', FILE: 'file', DIR: 'directory' };

function kindOf(placeholder: string | undefined, choices: readonly string[] | undefined): Kind {
  return choices ?? kinds[placeholder ?? ''] ?? 'any';
}

function optionModel(option: Option): OptionModel {
  const placeholder = /[<[](\w+)/.exec(option.flags)?.[1];
  const takesValue = option.required || option.optional;
  return {
    names: [option.short, option.long].filter((name) => name !== undefined),
    description: option.description,
    value: takesValue ? kindOf(placeholder, option.argChoices) : undefined,
    optional: option.optional,
  };
}

function argumentModel(argument: Argument): ArgumentModel {
  const kind = kindOf(argument.name(), argument.argChoices);
  return { name: argument.name(), kind, variadic: argument.variadic };
}

/** All that `--help` of the commands shows. */
export function commandModel(command: Command, path: readonly string[] = []): CommandModel {
  const help = command.createHelp();
  return {
    path,
    description: command.description(),
    options: help.visibleOptions(command).map(optionModel),
    arguments: command.registeredArguments.map(argumentModel),
    commands: help.visibleCommands(command).map((sub) => commandModel(sub, [...path, sub.name()])),
  };
}

/** The command, and all below it. */
export function allCommands(model: CommandModel): CommandModel[] {
  return [model, ...model.commands.flatMap(allCommands)];
}
