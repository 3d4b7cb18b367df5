import { allCommands, type CommandModel, type Kind } from './model';

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const wordsOf = (kind: Kind) => (typeof kind === 'string' ? `@${kind}` : kind.join(' '));

/** Cases that set `reply`: words, or @ and a kind. */
function cases(entries: readonly (readonly [pattern: string, reply: string])[]): string {
  return entries.map(([pattern, reply]) => `    ${pattern}) reply=${quoted(reply)} ;;\n`).join('');
}

/**
 * bash takes `:` for the end of a word, and PCI addresses are full of them: the line is split here
 * anew, and what bash has of the word already is taken from the answers.
 */
export function bashScript(root: CommandModel): string {
  const commands = allCommands(root);
  const name = (path: readonly string[]) => path.join(' ');
  const next = commands.map(({ path, options, commands: below }): [string, string] => [
    quoted(name(path)),
    [...below.map((sub) => sub.path.at(-1)), ...options.flatMap(({ names }) => names)].join(' '),
  ]);
  const values = commands.flatMap(({ path, options }) =>
    options.flatMap(({ names, value, optional }) =>
      value === undefined || optional
        ? []
        : names.map((option): [string, string] => [
            quoted(`${name(path)} ${option}`),
            wordsOf(value),
          ]),
    ),
  );
  const positions = commands.flatMap(({ path, arguments: expected }) =>
    expected.map(({ kind, variadic }, i): [string, string] => [
      variadic ? `${quoted(`${name(path)} `)}*` : quoted(`${name(path)} ${i}`),
      wordsOf(kind),
    ]),
  );
  return `# bash completion of vfio; to have it: source <(vfio completion bash)

# Subcommands and options of a command.
_vfio_next() {
  reply=
  case "$1" in
${cases(next)}  esac
}

# What the value of an option can be.
_vfio_value() {
  reply=
  case "$1" in
${cases(values)}  esac
}

# What an argument can be.
_vfio_argument() {
  reply=
  case "$1" in
${cases(positions)}  esac
}

_vfio() {
  local line="\${COMP_LINE:0:COMP_POINT}" cur='' path='' expected='' position=0
  local reply word words candidates=() candidate
  read -ra words <<<"$line"
  if [[ "$line" != *[[:space:]] ]]; then
    cur="\${words[-1]}"
    unset 'words[-1]'
  fi

  for word in "\${words[@]:1}"; do
    if [[ "$word" == -- ]]; then
      expected=@file
      break
    elif [[ -n "$expected" ]]; then
      expected=
    elif [[ "$word" == -* ]]; then
      _vfio_value "$path $word"
      expected="$reply"
    else
      _vfio_next "$path"
      if [[ " $reply " == *" $word "* ]]; then
        path="\${path:+$path }$word"
      else
        position=$((position + 1))
      fi
    fi
  done

  if [[ -z "$expected" && "$cur" == --*=* ]]; then
    _vfio_value "$path \${cur%%=*}"
    expected="$reply"
    cur="\${cur#*=}"
  fi
  if [[ -z "$expected" ]]; then
    _vfio_argument "$path $position"
    expected="$reply"
    _vfio_next "$path"
    # Options when asked for, or when nothing else is expected.
    [[ "$cur" == -* || -z "$expected" ]] && expected="$reply"
  fi

  COMPREPLY=()
  case "$expected" in
    @any) return ;;
    @file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    @directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    @bdf) candidates=(/sys/bus/pci/devices/*); candidates=("\${candidates[@]##*/}") ;;
    *) read -ra candidates <<<"$expected" ;;
  esac
  local known=
  [[ "$cur" == *:* && "$COMP_WORDBREAKS" == *:* ]] && known="\${cur%"\${cur##*:}"}"
  for candidate in "\${candidates[@]}"; do
    [[ "$candidate" == "$cur"* ]] && COMPREPLY+=("\${candidate#"$known"}")
  done
}

complete -F _vfio vfio
`;
}
