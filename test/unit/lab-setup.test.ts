import { parseInstallations, parseMadison } from '../../src/lab/packages/apt';
import {
  distributionSources,
  formatSources,
  parseOsRelease,
  parseSources,
} from '../../src/lab/packages/apt-sources';
import { isAtLeast } from '../../src/lab/packages/versions';

const bookworm = { name: 'Debian 12', codenames: ['bookworm'] };

const deb822 = `Types: deb deb-src
# http://snapshot.example/debian/2025
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abcd
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://vendor.example/packages
Suites: nodistro
Components: main
`;

describe('apt sources', () => {
  test('keeps the archive of the release from a deb822 file and adds its backports', () => {
    const sources = distributionSources(parseSources('debian.sources', deb822), bookworm);
    expect(formatSources(sources)).toBe(`types: deb
uris: http://mirror.example/debian
suites: bookworm bookworm-updates bookworm-backports
components: main contrib
signed-by: /usr/share/keyrings/debian-archive-keyring.gpg

types: deb
uris: http://mirror.example/debian-security
suites: bookworm-security
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abcd
 -----END PGP PUBLIC KEY BLOCK-----
`);
  });

  test('reads the one-line format', () => {
    const list = `# comment
deb [arch=amd64,i386 signed-by=/etc/apt/keys/u.gpg] http://mirror.example/ubuntu noble main universe # x
deb-src http://mirror.example/ubuntu noble main
deb http://mirror.example/flat ./
 deb http://mirror.example/ubuntu noble-security main
`;
    const ubuntu = { name: 'Ubuntu', codenames: ['noble'] };
    expect(
      formatSources(distributionSources(parseSources('sources.list', list), ubuntu)),
    ).toBe(`types: deb
uris: http://mirror.example/ubuntu
suites: noble noble-backports
components: main universe
architectures: amd64 i386
signed-by: /etc/apt/keys/u.gpg

types: deb
uris: http://mirror.example/ubuntu
suites: noble-security
components: main
`);
  });

  test('does not add backports twice, and follows the name "stable"', () => {
    const list =
      'deb http://m.example/debian stable main\ndeb http://m.example/debian stable-backports main';
    const suites = distributionSources(parseSources('a.list', list), bookworm).map((source) =>
      source.get('suites'),
    );
    expect(suites).toEqual(['stable stable-backports', 'stable-backports']);
  });

  test('a suite is not taken for the release because its name begins alike', () => {
    const list = 'deb http://m.example/x bookwormish main';
    expect(distributionSources(parseSources('a.list', list), bookworm)).toEqual([]);
  });

  test('os-release gives the release and the one it derives from', () => {
    const text =
      'PRETTY_NAME="Mint 22"\nID=linuxmint\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n';
    expect(parseOsRelease(text)).toEqual({ name: 'Mint 22', codenames: ['wilma', 'noble'] });
    expect(parseOsRelease('ID=alpine\n')).toEqual({ name: 'this system', codenames: [] });
  });
});

describe('package versions', () => {
  test('come from madison, those of the release first', () => {
    const table = ` qemu-system-x86 | 1:10.0.2+ds-2~bpo12+1 | http://m.example/debian bookworm-backports/main amd64 Packages
 qemu-system-x86 | 1:7.2+dfsg-7 | http://m.example/debian bookworm/main amd64 Packages
 qemu | 1:7.2+dfsg-7 | http://m.example/debian bookworm/main Sources
`;
    expect(parseMadison(table, 'qemu-system-x86')).toEqual([
      { version: '1:7.2+dfsg-7', suite: 'bookworm' },
      { version: '1:10.0.2+ds-2~bpo12+1', suite: 'bookworm-backports' },
    ]);
    expect(parseMadison('', 'qemu-system-x86')).toEqual([]);
  });

  test('of a later release come last, though it is no backport', () => {
    const line = (version: string, suite: string) =>
      ` linux-image-amd64 | ${version} | http://m.example/debian ${suite}/main amd64 Packages\n`;
    const table = [line('6.12.100-1', 'trixie'), line('6.12.95-1~bpo12+1', 'bookworm-backports')];
    const versions = parseMadison(table.join(''), 'linux-image-amd64', ['trixie']);
    expect(versions.map(({ suite }) => suite)).toEqual(['bookworm-backports', 'trixie']);
  });

  test.each([
    ['1:7.2+dfsg-7', '8.0', false],
    ['1:10.0.2+ds-2', '8.0', true],
    ['8.0.0', '8.0', true],
    ['6.12.95-1~bpo12+1', '6.6', true],
    ['6.1.176-1', '6.6', false],
    ['7.2', '6.6', true],
    ['unversioned', '6.6', false],
  ])('%s >= %s is %s', (version, least, expected) => {
    expect(isAtLeast(version, least)).toBe(expected);
  });
});

test('the plan of an installation names its packages', () => {
  const plan = `NOTE: This is only a simulation!
Inst gcc-14-base (14.2.0-19 Debian:13.8/stable [amd64])
Inst libelf1 [0.188-2.1] (0.188-2.2 Debian:12.14/oldstable [amd64]) []
Conf gcc-14-base (14.2.0-19 Debian:13.8/stable [amd64])
`;
  expect(parseInstallations(plan)).toEqual(['gcc-14-base', 'libelf1']);
});
