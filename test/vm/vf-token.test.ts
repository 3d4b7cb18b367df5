/**
 * Who may open what: the kernel's rules for VF tokens, on an 82576 and its VFs.
 *
 * @kernel each
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:os';
import { type Device, openDevice, readPciDevice } from 'vfio';
import { Group } from '../../src/device/group';
import { native } from '../../src/native';
import { bound, findDevice, vfioResources } from './lab-devices';

const token = randomUUID();
const refused = expect.objectContaining({
  name: 'VfioError',
  code: 'EACCES',
  errno: constants.errno.EACCES,
  ioctl: expect.stringMatching(/^VFIO_(GROUP_GET_DEVICE_FD|DEVICE_BIND_IOMMUFD)$/),
  hint: expect.stringContaining('vfToken'),
});

bound('igb', 'edu');

describe('VF tokens', () => {
  let pf: Device;
  let vfs: string[];

  beforeEach(async () => {
    pf = await openDevice(findDevice('igb').bdf, { vfToken: token });
    vfs = await pf.sriov.setNumVfs(2);
  });

  afterEach(async () => {
    if (pf.closed) pf = await openDevice(pf.bdf, { vfToken: token });
    await pf.sriov.setNumVfs(0);
    await pf.close();
  });

  test('new VFs are bound to vfio-pci, each in a group of its own', () => {
    expect(vfs).toHaveLength(2);
    const pcis = vfs.map(readPciDevice);
    expect(pcis.map(({ driver }) => driver)).toEqual(['vfio-pci', 'vfio-pci']);
    expect(pcis.map(({ physfn }) => physfn)).toEqual([pf.bdf, pf.bdf]);
    expect(new Set([...pcis, findDevice('igb')].map(({ iommuGroup }) => iommuGroup)).size).toBe(3);
    expect(pf.sriov.vfs()).toEqual(vfs);
    expect(pf.sriov.numVfs).toBe(2);
  });

  test('a VF opens with the token of its PF, and with no other', async () => {
    await expect(openDevice(vfs[0]!)).rejects.toThrow(refused);
    await expect(openDevice(vfs[0]!, { vfToken: randomUUID() })).rejects.toThrow(refused);
    const vf = await openDevice(vfs[0]!, { vfToken: token });
    expect(vf.config.size).toBeGreaterThan(0);
    await vf.close();
  });

  test('a token that is replaced no longer opens, and those that are open stay so', async () => {
    const open = await openDevice(vfs[0]!, { vfToken: token });
    const next = randomUUID();
    pf.setVfToken(next);
    await expect(openDevice(vfs[1]!, { vfToken: token })).rejects.toThrow(refused);
    const other = await openDevice(vfs[1]!, { vfToken: next });
    expect(open.config.read16(0)).toBe(findDevice('igb').vendor);
    await other.close();
    await open.close();
    pf.setVfToken(token);
  });

  test('reopening the PF needs the token while a VF is open, and sets a new one when none is', async () => {
    const vf = await openDevice(vfs[0]!, { vfToken: token });
    await pf.close();
    await expect(openDevice(pf.bdf)).rejects.toThrow(refused);
    await expect(openDevice(pf.bdf, { vfToken: randomUUID() })).rejects.toThrow(refused);
    pf = await openDevice(pf.bdf, { vfToken: token });
    await pf.close();
    await vf.close();

    const fresh = randomUUID();
    pf = await openDevice(pf.bdf, { vfToken: fresh });
    await expect(openDevice(vfs[0]!, { vfToken: token })).rejects.toThrow(refused);
    pf.setVfToken(token);
  });

  test('setNumVfs checks its argument and goes by way of 0', async () => {
    const bad = expect.objectContaining({ code: 'ERR_VFIO_INVALID_ARGUMENT' });
    for (const count of [-1, 1.5, 1000]) {
      await expect(pf.sriov.setNumVfs(count)).rejects.toThrow(bad);
    }
    expect(pf.sriov.totalVfs).toBeGreaterThan(2);
    expect(await pf.sriov.setNumVfs(3)).toHaveLength(3);
    expect(await pf.sriov.setNumVfs(3)).toHaveLength(3);
    expect(await pf.sriov.setNumVfs(0)).toEqual([]);
  });
});

describe('what GET_DEVICE_FD refuses', () => {
  test('a token on a device without SR-IOV is EINVAL, and the hint says so', async () => {
    await expect(openDevice(findDevice('edu').bdf, { vfToken: token })).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL', hint: expect.stringContaining('VF token') }),
    );
  });

  test('SR-IOV on a device without it', async () => {
    const edu = await openDevice(findDevice('edu').bdf);
    expect(edu.sriov.totalVfs).toBe(0);
    expect(edu.sriov.vfs()).toEqual([]);
    await expect(edu.sriov.setNumVfs(1)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_VFIO_NO_SRIOV' }),
    );
    expect(() => edu.setVfToken(token)).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
    await edu.close();
  });

  test('an unknown option, a bad UUID or a foreign name; and none leaks a descriptor', async () => {
    const { bdf, iommuGroup } = findDevice('igb');
    const before = vfioResources();
    const group = await Group.acquire(iommuGroup!);
    const errno = (argument: string) => group.getDeviceFd(argument).catch(({ code }) => code);
    expect(await errno(`${bdf} speed=10`)).toBe('EINVAL');
    expect(await errno(`${bdf} vf_token=1234`)).toBe('EINVAL');
    expect(await errno(`${bdf} vf_token=${token} vf_token=${token}`)).toBe('EINVAL');
    expect(await errno(findDevice('edu').bdf)).toBe('ENODEV');
    const fd = await group.getDeviceFd(bdf);
    expect(fd).toBeGreaterThan(2);
    native.close(fd);
    await group.release();
    expect(vfioResources()).toEqual(before);
  });
});
