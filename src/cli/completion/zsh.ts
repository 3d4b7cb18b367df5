import type { ArgumentModel, CommandModel, Kind, OptionModel } from './model';

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** In specifications of _arguments and _describe, these end a part. */
const escaped = (text: string) => text.replace(/[\\:[\]]/g, '\\$&');

function action(kind: Kind): string {
  if (kind === 'bdf') return '_vfio_bdfs';
  if (kind === 'file') return '_files';
  if (kind === 'directory') return '_files -/';
  return kind === 'any' ? ' ' : `(${kind.join(' ')})`;
}

function optionSpecs({ names, description, value, optional }: OptionModel): string[] {
  const exclusive = `(${names.join(' ')})`;
  return names.map((name) => {
    const text = `${exclusive}${name}[${escaped(description)}]`;
    if (value === undefined) return quoted(text);
    return quoted(`${text}:${optional ? ':' : ''}value:${action(value)}`);
  });
}

function argumentSpec({ name, kind, variadic }: ArgumentModel): string {
  return quoted(`${variadic ? '*' : ''}:${escaped(name)}:${action(kind)}`);
}

const functionOf = (path: readonly string[]) => ['_vfio', ...path].join('_');

function definition(command: CommandModel): string {
  const { path, options, commands } = command;
  const specs = [...options.flatMap(optionSpecs), ...command.arguments.map(argumentSpec)];
  const call = (more: readonly string[]) => ['_arguments', ...specs, ...more].join(' \\\n    ');
  if (commands.length === 0) return `${functionOf(path)}() {\n  ${call([])}\n}\n`;
  const names = commands.map(
    (sub) => `    ${quoted(`${sub.path.at(-1)}:${escaped(sub.description)}`)}\n`,
  );
  const branches = commands.map(
    (sub) => `        ${sub.path.at(-1)}) ${functionOf(sub.path)} ;;\n`,
  );
  return `${functionOf(path)}() {
  local curcontext="$curcontext" state line
  local -a commands=(
${names.join('')}  )
  ${call(["'1: :->command'", "'*:: :->argument'"]).replace('_arguments', '_arguments -C')}
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
${branches.join('')}      esac ;;
  esac
}

${commands.map(definition).join('\n')}`;
}

export function zshScript(root: CommandModel): string {
  return `#compdef vfio
# zsh completion of vfio; to have it: vfio completion zsh > "\${fpath[1]}/_vfio"

_vfio_bdfs() {
  local -a addresses=(/sys/bus/pci/devices/*(N:t))
  compadd -- $addresses
}

${definition(root)}
if [[ "\${funcstack[1]}" == _vfio ]]; then
  _vfio "$@"
else
  compdef _vfio vfio
fi
`;
}
