import { allCommands, type CommandModel, type Kind, type OptionModel } from './model';

/** fish knows \\' and \\\\ in single quotes. */
const quoted = (text: string) => `'${text.replace(/['\\]/g, '\\$&')}'`;

/** Arguments of `complete` for what a word can be. -x: and no files. */
function candidates(kind: Kind): string {
  if (kind === 'file') return '-r -F';
  if (kind === 'directory') return "-x -a '(__fish_complete_directories)'";
  if (kind === 'bdf') return "-x -a '(__vfio_bdfs)'";
  return kind === 'any' ? '-x' : `-x -a ${quoted(kind.join(' '))}`;
}

/** In this command, and in none below it. */
function condition({ path, commands }: CommandModel): string {
  if (path.length === 0) return '__vfio_bare';
  const below = commands.map((sub) => `; and not __vfio_in ${sub.path.join(' ')}`);
  return `__vfio_in ${path.join(' ')}${below.join('')}`;
}

function optionLine(where: string, { names, value, optional, description }: OptionModel): string {
  const flags = names.map((name) =>
    name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
  );
  const takes = value === undefined || optional ? '' : ` ${candidates(value)}`;
  return `complete -c vfio -n ${where} ${flags.join(' ')}${takes} -d ${quoted(description)}`;
}

function lines(command: CommandModel): string[] {
  const where = quoted(condition(command));
  const depth = command.path.length + 1;
  const bare = quoted(`${condition(command)}; and test (count (commandline -opc)) -eq ${depth}`);
  const below = command.commands.map(
    ({ path, description }) =>
      `complete -c vfio -n ${bare} -a ${path.at(-1)} -d ${quoted(description)}`,
  );
  const options = command.options.map((option) => optionLine(where, option));
  const valued = command.options.flatMap(({ names, value, optional }) =>
    value === undefined || optional ? [] : names,
  );
  const args = command.arguments.map(({ kind, variadic }, i) => {
    const at = ['__vfio_position', depth, variadic ? 'any' : i, ...valued].join(' ');
    return `complete -c vfio -n ${quoted(`${condition(command)}; and ${at}`)} ${candidates(kind)}`;
  });
  return [...below, ...options, ...args];
}

export function fishScript(root: CommandModel): string {
  return `# fish completion of vfio; to have it: vfio completion fish > ~/.config/fish/completions/vfio.fish

function __vfio_bdfs
    for device in /sys/bus/pci/devices/*
        string replace -r '.*/' '' -- $device
    end
end

function __vfio_bare -d 'No command yet'
    test (count (commandline -opc)) -eq 1
end

function __vfio_in -d 'The line begins with this command'
    set -l words (commandline -opc)
    set -e words[1]
    string match -q -- "$argv *" "$words "
end

function __vfio_position -a depth wanted -d 'The argument of that index is next; then options with values'
    set -l words (commandline -opc)
    set -e words[1..$depth]
    set -l count 0
    set -l skip no
    for token in $words
        if test $skip = yes
            set skip no
        else if contains -- $token $argv[3..]
            set skip yes
        else if not string match -q -- '-*' $token
            set count (math $count + 1)
        end
    end
    test $wanted = any; or test $wanted = $count
end

complete -c vfio -f
${allCommands(root).flatMap(lines).join('\n')}
`;
}
