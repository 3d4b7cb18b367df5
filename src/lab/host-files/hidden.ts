import { readdirSync, realpathSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { HiddenPath } from '../guest/init';

/** Where people keep keys and passwords, in their home directory. */
const SECRETS_AT_HOME = [
  ...['.ssh', '.gnupg', '.aws', '.azure', '.kube', '.docker', '.oci', '.password-store'],
  ...['.config/gcloud', '.config/gh', '.config/glab-cli', '.config/hub', '.config/op'],
  ...['.config/containers', '.config/rclone', '.config/sops', '.local/share/keyrings'],
  ...['.mozilla', '.config/google-chrome', '.config/chromium', '.thunderbird'],
  ...[
    '.npmrc',
    '.yarnrc',
    '.yarnrc.yml',
    '.netrc',
    '.pgpass',
    '.my.cnf',
    '.pypirc',
    '.vault-token',
  ],
  ...[
    '.git-credentials',
    '.config/git/credentials',
    '.cargo/credentials',
    '.cargo/credentials.toml',
  ],
  ...['.gem/credentials', '.m2/settings.xml', '.terraformrc', '.terraform.d/credentials.tfrc.json'],
  ...['.bash_history', '.zsh_history', '.node_repl_history', '.python_history', '.psql_history'],
];

/** What only root reads. */
const SECRETS_OF_THE_MACHINE = [
  ...['/etc/shadow', '/etc/shadow-', '/etc/gshadow', '/etc/gshadow-', '/etc/ssl/private'],
  ...['/etc/wireguard', '/etc/NetworkManager/system-connections', '/var/lib/private'],
];

/**
 * The files and directories that a guest sees as empty: the places of secrets of every user whose
 * files this process may read, and `more`. Only what exists, without symbolic links.
 */
export function hiddenPaths(more: readonly string[]): HiddenPath[] {
  const homes = new Set([homedir(), '/root', ...entries('/home'), ...entries('/var/home')]);
  const candidates = [
    ...[...homes].flatMap((home) => SECRETS_AT_HOME.map((name) => join(home, name))),
    ...SECRETS_OF_THE_MACHINE,
    ...entries('/etc/ssh').filter((path) => /_key$/.test(path)),
    ...more.map((path) => resolve(path)),
  ];
  const found = new Map<string, HiddenPath>();
  for (const candidate of candidates) {
    const hidden = existing(candidate);
    if (hidden) found.set(hidden.path, hidden);
  }
  // What lies below a hidden directory is hidden with it.
  const directories = [...found.values()].filter(({ kind }) => kind === 'directory');
  return [...found.values()].filter(
    ({ path }) => !directories.some((above) => path.startsWith(`${above.path}/`)),
  );
}

function existing(candidate: string): HiddenPath | undefined {
  try {
    const path = realpathSync(candidate);
    // A line each is how the guest gets them.
    if (path.includes('\n')) return undefined;
    return { kind: statSync(path).isDirectory() ? 'directory' : 'file', path };
  } catch {
    return undefined; // there is none, or none that this process or its guest can read
  }
}

function entries(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return [];
  }
}
