/** The script of `vfio doctor --fix`: what it does, and what it leaves to a person. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addBootParameter } from '../../src/doctor/boot-parameter';
import { examine } from '../../src/doctor/examine';
import { fixScript } from '../../src/doctor/finding';
import * as machines from '../fixtures/machines';
import { bootMachine, type FakeMachine, removeMachine } from './fake-machine';

jest.mock('../../src/pci/paths', () => require('./fake-machine-paths'));

afterAll(removeMachine);

function scriptFor(machine: FakeMachine, bdf?: string): string {
  bootMachine(machine);
  return fixScript(examine(bdf));
}

const commandsOf = (script: string) =>
  script.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('a group is freed of what nothing uses; a root disk is left to a person', () => {
  const script = scriptFor(machines.mountedDisk, '0000:01:00.0');
  expect(commandsOf(script)).toContain('vfio bind 0000:01:00.1');
  expect(script).not.toMatch(/^vfio bind .*0000:02:00.0/m);
  expect(script).toContain('0000:02:00.0 is in use: nvme0n1p2 is mounted on /');
  expect(script).toContain(
    '\n# umount /dev/nvme0n1p2\n# swapoff /dev/nvme0n1p3\n# vfio bind --force 0000:02:00.0\n',
  );
});

test('what lowers security is a comment, and what is well is left alone', () => {
  const server = machines.sriovServer;
  const unsafe = { 'sys/class/iommu/dmar0/intel-iommu/ecap': '0\n' };
  const script = scriptFor({ ...server, files: { ...server.files, ...unsafe } }, '0000:03:00.0');
  expect(script).toMatch(/^# echo Y > .*allow_unsafe_interrupts$/m);
  expect(script).not.toContain('enable_sriov');
  expect(commandsOf(script)).toEqual(['set -eu']);
});

test('a device in use is not unbound, nor told how', () => {
  const script = scriptFor(machines.sriovServer, '0000:03:00.1');
  expect(commandsOf(script)).toEqual(['set -eu']);
  expect(script).not.toContain('unbind');
});

describe('a parameter for the next boot', () => {
  const script = ['set -eu', ...addBootParameter('intel_iommu=on').commands].join('\n');

  /** Runs it where there are these tools, and nothing else; resolves to what they were called with. */
  function runWith(...tools: string[]): { calls: string; grub: string } {
    const bin = mkdtempSync(join(tmpdir(), 'vfio-boot-'));
    const [log, grub] = [join(bin, 'log'), join(bin, 'grub')];
    writeFileSync(log, '');
    writeFileSync(grub, 'GRUB_CMDLINE_LINUX="quiet"\n');
    for (const tool of tools) {
      writeFileSync(join(bin, tool), `#!/bin/sh\necho ${tool} "$@" >> ${log}\n`);
      chmodSync(join(bin, tool), 0o755);
    }
    execFileSync('/bin/sh', ['-c', script.replaceAll('/etc/default/grub', grub)], {
      env: { PATH: bin },
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    const found = { calls: readFileSync(log, 'utf8'), grub: readFileSync(grub, 'utf8') };
    rmSync(bin, { recursive: true });
    return found;
  }

  const appended =
    'GRUB_CMDLINE_LINUX="quiet"\nGRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX intel_iommu=on"\n';
  const untouched = 'GRUB_CMDLINE_LINUX="quiet"\n';

  test.each([
    [['grubby'], 'grubby --update-kernel=ALL --args=intel_iommu=on\n', untouched],
    [['update-grub', 'grub-mkconfig'], 'update-grub\n', appended],
    [['grub2-mkconfig'], 'grub2-mkconfig -o /boot/grub2/grub.cfg\n', appended],
    [['grub-mkconfig'], 'grub-mkconfig -o /boot/grub/grub.cfg\n', appended],
    [[], '', untouched],
  ])('by %j', (tools, calls, grub) => {
    expect(runWith(...tools)).toEqual({ calls, grub });
  });
});
