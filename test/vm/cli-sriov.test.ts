/**
 * `vfio sriov` and `vfio bind` on an 82576 and an NVMe disk, with others that use them.
 *
 * @kernel stock
 */
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { Sriov } from 'vfio';
import { findDevice } from './lab-devices';
import { driverOf, holder, letGo, main, vfio } from './vfio-command';

describe('the VFs of a PF', () => {
  const { bdf: pf } = findDevice('igb');
  const vfs = () => new Sriov(pf).vfs();
  const vfToken = randomUUID();

  beforeAll(async () => {
    expect(await vfio('bind', pf)).toMatchObject({ status: 0, err: '' });
  });
  afterAll(async () => {
    await vfio('sriov', pf, '0', '--force');
    await vfio('restore', '--force');
  });

  test('they are made with a token, which their opener needs', async () => {
    const made = await vfio('sriov', pf, '2', '--vf-token', vfToken);
    expect(made).toEqual({
      status: 0,
      out: `${pf}: 0 -> 2 VFs\n${vfs()
        .map((vf) => `  ${vf}\n`)
        .join('')}`,
      err: '',
    });
    expect(vfs().map(driverOf)).toEqual(['vfio-pci', 'vfio-pci']);
    const [vf] = vfs() as [string];
    expect((await vfio('regs', vf, 'bar0', '--unsafe-read')).err).toMatch(/EACCES/);
    const given = await vfio('regs', vf, 'bar0', '--unsafe-read', '--vf-token', vfToken);
    expect(given).toMatchObject({ status: 0, err: '' });
  });

  test('none of them goes while one is in use, neither by number nor with the PF', async () => {
    const [, vf] = vfs() as [string, string];
    const child = await holder(vf, { vfToken });
    const refused = new RegExp(
      `^vfio: the VF ${vf} is in use: open in node \\(pid ${child.pid}\\) by fd \\d+`,
    );
    for (const args of [
      ['sriov', pf, '3'],
      ['restore', pf],
    ]) {
      expect(await vfio(...args)).toEqual({
        status: 1,
        out: '',
        err: expect.stringMatching(refused),
      });
    }
    expect(vfs()).toHaveLength(2);
    await letGo(child);
  });

  test('a change that is killed midway loses none', async () => {
    const child = spawn(process.execPath, [main, 'sriov', pf, '4']);
    const record = `/run/vfio/vfs/${pf}.json`;
    while (!existsSync(record) && child.exitCode === null) await new Promise(setImmediate);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(child.signalCode).toBe('SIGKILL');
    expect(await vfio('sriov', pf, '2')).toMatchObject({ status: 0, err: '' });
    expect(vfs().map(driverOf)).toEqual(['vfio-pci', 'vfio-pci']);
    expect(existsSync(record)).toBe(false);
  });
});

/** The disk of an NVMe controller, once the kernel has found it: with multipath, it is elsewhere in sysfs. */
async function diskOf(bdf: string): Promise<string> {
  const controllers = `/sys/bus/pci/devices/${bdf}/nvme`;
  for (;;) {
    const found = existsSync(controllers) ? readdirSync(controllers) : [];
    const names = found.flatMap((name) => readdirSync(`${controllers}/${name}`));
    const disk = names.find((name) => /^nvme\d+(c\d+)?n\d+$/.test(name));
    if (disk) return disk.replace(/c\d+/, '');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('a disk that another process has claimed, as a mount elsewhere does', async () => {
  const { bdf } = findDevice('nvme');
  execFileSync('modprobe', ['nvme']);
  const before = driverOf(bdf);
  if (before !== 'nvme') await vfio('bind', bdf, '--driver', 'nvme');
  const path = `/dev/${await diskOf(bdf)}`;
  const script = `
    fs.openSync(${JSON.stringify(path)}, fs.constants.O_RDONLY | fs.constants.O_EXCL);
    console.log('claimed');
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data');
    expect(await vfio('bind', bdf)).toEqual({
      status: 1,
      out: '',
      err: expect.stringMatching(/is in use: nvme\d+n\d+ is claimed, by a file system/),
    });
    expect(driverOf(bdf)).toBe('nvme');
  } finally {
    child.stdin.end();
    await once(child, 'exit');
    await vfio('restore');
  }
});
