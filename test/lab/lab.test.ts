/**
 * Real VMs. A boot takes 5 to 10 seconds without KVM, so each test looks at several things.
 * The set-up must have run before (`vfio lab setup`).
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { type Lab, type LabOptions, startLab } from 'vfio/lab';

jest.setTimeout(300_000);

/** Collects what is written to it. */
class Sink extends Writable {
  readonly #chunks: Buffer[] = [];
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#chunks.push(chunk);
    done();
  }
  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  get text(): string {
    return this.bytes.toString();
  }
}

let stdout: Sink;
let stderr: Sink;
let labs: Lab[];

beforeEach(() => {
  stdout = new Sink();
  stderr = new Sink();
  labs = [];
});

afterEach(async () => {
  for (const lab of labs) await lab.close();
});

async function start(options: LabOptions): Promise<Lab> {
  const lab = await startLab({ stdout, stderr, ...options });
  labs.push(lab);
  return lab;
}

function shell(script: string, ...args: string[]): string[] {
  return ['sh', '-c', script, 'test', ...args];
}

/** Resolves when the command has printed `text`. */
async function printed(text: string): Promise<void> {
  for (let attempt = 0; !stdout.text.includes(text); attempt++) {
    if (attempt === 600) throw new Error(`the command did not print ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('runs a command with its directory, arguments, environment, devices and status', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-lab test-'));
  const out = join(directory, 'out');
  mkdirSync(join(directory, 'work'));
  try {
    const script = `
      pwd; id -u; echo "$1"; echo "$VFIO_X"
      echo mine >/etc/vfio-lab-test; cat /etc/vfio-lab-test; rm -r "$PWD" && [ ! -e "$PWD" ] && echo removed
      echo kept >"$2/file"; echo lost >/tmp/vfio-lab-lost; cat /tmp/vfio-lab-lost
      cat /sys/bus/pci/devices/0000:01:00.0/device /sys/module/vfio_pci/parameters/enable_sriov
      for driver in /sys/bus/pci/drivers/vfio-pci /sys/bus/pci/drivers/igb; do
        [ -e $driver/0000:01:00.0 ] && echo bound
      done
      modprobe igbvf && cut -d' ' -f1 /proc/modules | grep -x igbvf
      cat /sys/class/net/lo/operstate; ls /sys/class/net; date +%s
      (sleep 1000; echo late) &
      exit 3`;
    const lab = await start({
      command: shell(script, "two words 'quoted'", out),
      cwd: join(directory, 'work'),
      env: { PATH: `${process.env.PATH}:/usr/sbin`, VFIO_X: 'a $b' },
      out,
    });
    expect(await lab.exit).toEqual({ status: 3 });
    expect(stderr.text).toBe('');
    const lines = stdout.text.split('\n');
    expect(lines.slice(0, -3)).toEqual([
      ...[join(directory, 'work'), '0', "two words 'quoted'", 'a $b'],
      ...['mine', 'removed', 'lost', '0x10c9', 'Y', 'igbvf', 'unknown'],
    ]);
    expect(lines.at(-3)).toBe('lo');
    expect(Math.abs(Number(lines.at(-2)) - Date.now() / 1000)).toBeLessThan(60);
    expect(readFileSync(join(out, 'file'), 'utf8')).toBe('kept\n');
    for (const path of ['/tmp/vfio-lab-lost', '/etc/vfio-lab-test']) {
      expect(existsSync(path)).toBe(false);
    }
    expect(existsSync(join(directory, 'work'))).toBe(true);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('keeps stdout and stderr apart and every byte as it is; 127 for no such command', async () => {
  // More than all buffers on the way hold.
  const size = 4 << 20;
  const pattern = Buffer.from(Array.from({ length: 65_521 }, (_, i) => (i * 31 + (i >> 8)) & 255));
  const program = `
    const pattern = Buffer.from('${pattern.toString('base64')}', 'base64');
    process.stdout.write(Buffer.alloc(${size}, pattern));
    process.stderr.write(pattern);
    process.on('exit', () => require('fs').writeSync(2, 'end'));`;
  const slow = new Sink();
  // A consumer that is slow must lose nothing.
  const write = slow._write.bind(slow);
  slow._write = (chunk, encoding, done) => setTimeout(() => write(chunk, encoding, done), 2);
  const lab = await start({
    command: shell('"$1" -e "$2"; exec no-such-command', process.execPath, program),
    stdout: slow,
  });
  expect(await lab.exit).toEqual({ status: 127 });
  expect(slow.bytes.length).toBe(size);
  expect(slow.bytes.equals(Buffer.alloc(size, pattern))).toBe(true);
  expect(stderr.bytes.subarray(0, pattern.length).equals(pattern)).toBe(true);
  expect(stderr.text).toMatch(/end.*no-such-command: not found\n$/s);
});

test('two labs at once: one runs out of time, one takes signals and commands until killed', async () => {
  const devices = ['igb'];
  const script = 'trap "echo got INT" INT; echo ready; while :; do sleep 0.1; done';
  const [slow, other] = await Promise.all([
    start({ command: shell('sleep 1000'), devices, timeout: 5, stdout: new Sink() }),
    start({ command: shell(script), devices }),
  ]);
  await expect(slow.exit).rejects.toMatchObject({
    code: 'LAB_TIMEOUT',
    message: expect.stringContaining('5 s'),
    kernelLog: expect.arrayContaining([expect.any(String)]),
  });
  await printed('ready');
  other.signal('SIGINT');
  await printed('got INT');
  expect(await other.qmp.human('info pci')).toMatch(/Bus +1, device +0, function 0:\s+.*8086:10c9/);
  await expect(other.qmp.execute('device_del', { id: 'none' })).rejects.toMatchObject({
    class: 'DeviceNotFound',
  });
  process.kill(other.pid ?? 0, 'SIGKILL');
  await expect(other.exit).rejects.toMatchObject({
    code: 'LAB_DIED',
    message: expect.stringContaining('SIGKILL'),
  });
  await expect(other.qmp.execute('query-status')).rejects.toThrow(/ended/);
});

describe('without a boot', () => {
  test('a device that QEMU does not know', async () => {
    await expect(start({ command: ['true'], devices: ['flux-capacitor'] })).rejects.toMatchObject({
      code: 'LAB_QEMU',
      message: expect.stringContaining('flux-capacitor'),
    });
  });

  test('a kernel that is none', async () => {
    await expect(start({ command: ['true'], kernel: __filename })).rejects.toMatchObject({
      code: 'LAB_ARGUMENT',
    });
  });
});

test('a directory that the guest does not see, and closing', async () => {
  await expect(start({ command: ['true'], cwd: '/run', devices: [] })).resolves.toBeDefined();
  await labs[0]?.close();
  await labs[0]?.close();
  await expect(labs[0]?.exit).rejects.toMatchObject({ code: 'LAB_CLOSED' });
  await expect(
    start({ command: ['true'], cwd: '/run/does-not-exist', devices: [] }),
  ).rejects.toMatchObject({ code: 'LAB_BOOT', message: expect.stringContaining('does-not-exist') });
});
