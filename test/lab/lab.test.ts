/**
 * Real VMs. A boot takes 5 to 10 seconds without KVM, so most tests share one.
 * The set-up must have run before (`vfio lab setup`).
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { type CommandOptions, guestEnvironment, type Lab, type LabExit, startLab } from 'vfio/lab';
import { runtimeDirectory } from '../../src/lab/running/directory';

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
let directory: string;
/** The one that most tests share. */
let lab: Lab;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-lab test-'));
  mkdirSync(join(directory, 'work'));
  mkdirSync(join(directory, 'keys'));
  writeFileSync(join(directory, 'keys', 'id'), 'secret');
  writeFileSync(join(directory, 'password'), 'secret');
  lab = await startLab({
    cwd: join(directory, 'work'),
    env: { PATH: `${process.env.PATH}:/usr/sbin`, VFIO_X: 'a $b' },
    out: join(directory, 'out'),
    hide: [join(directory, 'keys'), join(directory, 'password')],
  });
});

beforeEach(() => {
  stdout = new Sink();
  stderr = new Sink();
});

afterAll(async () => {
  await lab?.close();
  rmSync(directory, { recursive: true });
});

function shell(script: string, ...args: string[]): string[] {
  return ['sh', '-c', script, 'test', ...args];
}

async function run(command: readonly string[], options: CommandOptions = {}): Promise<LabExit> {
  return lab.run(command, { stdout, stderr, ...options });
}

/** What a script prints, which must not fail or complain. */
async function printedBy(script: string, options: CommandOptions = {}): Promise<string> {
  expect(await run(shell(script), options)).toEqual({ status: 0 });
  expect(stderr.text).toBe('');
  return stdout.text;
}

/** Resolves when something has printed `text`. */
async function printed(text: string, sink = stdout): Promise<void> {
  for (let attempt = 0; !sink.text.includes(text); attempt++) {
    if (attempt === 600) throw new Error(`the command did not print ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test('runs a command with its directory, arguments, environment, devices and status', async () => {
  const script = `
    pwd; id -u; echo "$1"; echo "$VFIO_X"
    cat /sys/bus/pci/devices/0000:01:00.0/device /sys/module/vfio_pci/parameters/enable_sriov
    for driver in /sys/bus/pci/drivers/vfio-pci /sys/bus/pci/drivers/igb; do
      [ -e $driver/0000:01:00.0 ] && echo bound
    done
    modprobe igbvf && cut -d' ' -f1 /proc/modules | grep -x igbvf
    cat /sys/class/net/lo/operstate; ls /sys/class/net; date +%s
    exit 3`;
  expect(await run(shell(script, "two words 'quoted'"))).toEqual({ status: 3 });
  expect(stderr.text).toBe('');
  const lines = stdout.text.split('\n');
  expect(lines.slice(0, -3)).toEqual([
    ...[join(directory, 'work'), '0', "two words 'quoted'", 'a $b', '0x10c9', 'Y', 'igbvf'],
    'unknown',
  ]);
  expect(lines.at(-3)).toBe('lo');
  expect(Math.abs(Number(lines.at(-2)) - Date.now() / 1000)).toBeLessThan(60);
});

test('files may be written anywhere; only those in the out directory reach the host', async () => {
  const before = readFileSync('/etc/hostname', 'utf8');
  const script = `
    set -e
    echo kept >"$1/out/file"; echo lost >/tmp/vfio-lab-lost; cat /tmp/vfio-lab-lost
    echo mine >/etc/vfio-lab-test; cat /etc/vfio-lab-test
    echo other >>/etc/hostname; tail -n 1 /etc/hostname
    mkdir -p ~/.vfio-lab-test /usr/local/lib/vfio-lab-test
    mv "$1/work" "$1/moved"; ls "$1"; mkdir "$1/work"; rm -r "$1/moved"; ls -A "$1/work"`;
  expect(await run(shell(script, directory), { env: guestEnvironment(process.env) })).toEqual({
    status: 0,
  });
  expect(stdout.text.split('\n')).toEqual([
    ...['lost', 'mine', 'other', 'keys', 'moved', 'out', 'password', ''],
  ]);
  expect(readFileSync(join(directory, 'out', 'file'), 'utf8')).toBe('kept\n');
  expect(readFileSync('/etc/hostname', 'utf8')).toBe(before);
  const home = join(process.env.HOME!, '.vfio-lab-test');
  for (const path of ['/tmp/vfio-lab-lost', '/etc/vfio-lab-test', home, join(directory, 'moved')]) {
    expect(existsSync(path)).toBe(false);
  }
  expect(existsSync(join(directory, 'work'))).toBe(true);
});

test('a command sees what the host has changed since the last one', async () => {
  const file = join(directory, 'changes');
  writeFileSync(file, 'first');
  expect(await printedBy('cat ../changes')).toBe('first');
  writeFileSync(file, 'the second');
  writeFileSync(join(directory, 'new'), 'new');
  stdout = new Sink();
  expect(await printedBy('cat ../changes ../new')).toBe('the secondnew');
});

test('what is hidden is empty, and cannot be mounted again', async () => {
  const script = `
    ls -A ../keys; cat ../password; stat -c %F ../keys ../password
    umount ../keys ../password 2>/dev/null; cat ../keys/id ../password 2>/dev/null
    mkdir -p /run/again; mount -t 9p -o ro,trans=virtio vfio-root /run/again 2>/dev/null
    cat "/run/again/$PWD/../password" 2>/dev/null; ls /run/again; true`;
  expect(await printedBy(script)).toBe('directory\nregular empty file\n');
});

test('reads stdin to its end, keeps stdout and stderr apart and every byte as it is', async () => {
  // More than all buffers on the way hold.
  const size = 4 << 20;
  const pattern = Buffer.from(Array.from({ length: 65_521 }, (_, i) => (i * 31 + (i >> 8)) & 255));
  const program = `
    const pattern = Buffer.from('${pattern.toString('base64')}', 'base64');
    process.stdin.pipe(process.stdout);
    process.stderr.write(pattern);
    process.on('exit', () => require('fs').writeSync(2, 'end'));`;
  const slow = new Sink();
  // A consumer that is slow must lose nothing.
  const write = slow._write.bind(slow);
  slow._write = (chunk, encoding, done) => setTimeout(() => write(chunk, encoding, done), 2);
  const stdin = Readable.from([Buffer.alloc(size, pattern), Buffer.from('end')]);
  const command = shell(
    '"$1" -e "$2"; echo >/dev/stderr; exec no-such-command',
    process.execPath,
    program,
  );
  expect(await run(command, { stdin, stdout: slow })).toEqual({ status: 127 });
  expect(slow.bytes.length).toBe(size + 3);
  expect(slow.bytes.subarray(0, size).equals(Buffer.alloc(size, pattern))).toBe(true);
  expect(stderr.bytes.subarray(0, pattern.length).equals(pattern)).toBe(true);
  expect(stderr.text).toMatch(/end\n.*no-such-command: not found\n$/s);
});

test('a command need not read what it is given, and reads nothing if it is given nothing', async () => {
  const endless = new PassThrough();
  expect(await run(['true'], { stdin: endless.resume() })).toEqual({ status: 0 });
  expect(await run(['cat'])).toEqual({ status: 0 });
  expect(await run(['cat'], { stdin: Readable.from(['after that\n']) })).toEqual({ status: 0 });
  expect(stdout.text).toBe('after that\n');
});

test('several at once; the end of one kills what it left running, and nothing else', async () => {
  const leave =
    'sleep 1001 & setsid sleep 1002 >/dev/null 2>&1 & env -i setsid sleep 1003 & echo done';
  const others = await Promise.all([1, 2, 3].map(() => lab.spawn(['sleep', '1000'], { stdout })));
  expect(await run(shell(leave))).toEqual({ status: 0 });
  stdout = new Sink();
  expect(await printedBy("ps -e -o args | grep -o '^sleep 1...' | sort")).toBe(
    'sleep 1000\n'.repeat(3),
  );
  for (const other of others) other.signal('SIGTERM');
  for (const other of others) expect(await other.exit).toEqual({ status: 143 });
});

test('more than it can take are refused', async () => {
  const running = await Promise.all(Array.from({ length: 6 }, () => lab.spawn(['sleep', '1000'])));
  await expect(run(['true'])).rejects.toMatchObject({ code: 'LAB_BUSY' });
  for (const command of running) command.signal('SIGKILL');
  for (const command of running) expect(await command.exit).toEqual({ status: 137 });
  expect(await run(['true'])).toEqual({ status: 0 });
});

test('one runs out of time, cannot enter its directory or be heard: the lab goes on', async () => {
  const stubborn = shell('trap "" TERM INT HUP; echo $$; sleep 1000; sleep 1000');
  await expect(run(stubborn, { timeout: 1 })).rejects.toMatchObject({
    code: 'LAB_TIMEOUT',
    message: expect.stringContaining('1 s'),
    hint: expect.stringContaining('--timeout'),
  });
  const pid = stdout.text.trim();
  await expect(run(['true'], { cwd: '/run/does-not-exist' })).rejects.toMatchObject({
    code: 'LAB_ARGUMENT',
    message: expect.stringContaining('/run/does-not-exist'),
  });
  const deaf = new Writable({ write: (_chunk, _encoding, done) => done(new Error('no room')) });
  await expect(run(['yes'], { stdout: deaf })).rejects.toMatchObject({
    code: 'LAB_OUTPUT',
    message: expect.stringContaining('no room'),
  });
  stdout = new Sink();
  expect(await printedBy(`[ -e /proc/${pid} ]; echo $?; ps -e -o comm | grep -c yes || true`)).toBe(
    '1\n0\n',
  );
});

test('a command on a terminal: its size, keys that are signals, and all that it prints', async () => {
  const typed = new PassThrough();
  const script = `
    trap 'stty size; echo resized' WINCH; trap 'echo interrupted' INT
    tty; stty size; seq 1 20000; echo ready; while [ "$line" != end ]; do read -r line; done; exit 6`;
  const command = await lab.spawn(shell(script), {
    stdin: typed,
    stdout,
    terminal: { columns: 100, rows: 30 },
  });
  await printed('ready');
  expect(stdout.text).toMatch(/^\/dev\/pts\/\d\r\n30 100\r\n1\r\n/);
  const numbers = [...stdout.text.matchAll(/^(\d+)\r$/gm)].map(([, number]) => Number(number));
  expect(numbers).toEqual(Array.from({ length: 20_000 }, (_, i) => i + 1));
  command.resize(120, 40);
  await printed('40 120\r\nresized');
  typed.write('\x03');
  await printed('^Cinterrupted');
  typed.write('end\r');
  expect(await command.exit).toEqual({ status: 6 });
  // Keys that came too late are not for the next one.
  typed.write('echo stale\r');
  stdout = new Sink();
  const next = { stdin: new PassThrough(), stdout, terminal: { columns: 80, rows: 25 } };
  const silence = 'read -r -t 1 line; echo "<$line>"; printf "no end"';
  expect(await lab.run(['bash', '-c', silence], next)).toEqual({ status: 0 });
  expect(stdout.text).toBe('<>\r\nno end');
});

test('a second command takes well under a second', async () => {
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = Date.now();
    await run(['true']);
    times.push(Date.now() - start);
  }
  const [least = Infinity] = times.sort((a, b) => a - b);
  console.info(`a command in a running VM: ${times.join(', ')} ms`);
  expect(least).toBeLessThan(1000);
});

test('takes signals and commands of the monitor until it is killed, and leaves nothing', async () => {
  await using other = await startLab({ devices: ['igb'] });
  const script = 'trap "echo got INT" INT; echo ready; while :; do sleep 0.1; done';
  const command = await other.spawn(shell(script), { stdout });
  await printed('ready');
  command.signal('SIGINT');
  await printed('got INT');
  expect(await other.qmp.human('info pci')).toMatch(/Bus +1, device +0, function 0:\s+.*8086:10c9/);
  await expect(other.qmp.execute('device_del', { id: 'none' })).rejects.toMatchObject({
    class: 'DeviceNotFound',
  });
  process.kill(other.pid ?? 0, 'SIGKILL');
  await expect(command.exit).rejects.toMatchObject({
    code: 'LAB_DIED',
    message: expect.stringContaining('SIGKILL'),
  });
  await expect(other.qmp.execute('query-status')).rejects.toThrow(/ended/);
  await expect(other.run(['true'])).rejects.toMatchObject({ code: 'LAB_DIED' });
  expect(existsSync(join(runtimeDirectory(), other.id))).toBe(false);
});

describe('without a boot', () => {
  test('a device that QEMU does not know', async () => {
    await expect(startLab({ devices: ['flux-capacitor'] })).rejects.toMatchObject({
      code: 'LAB_QEMU',
      message: expect.stringContaining('flux-capacitor'),
    });
  });

  test('a kernel that is none', async () => {
    await expect(startLab({ kernel: __filename })).rejects.toMatchObject({
      code: 'LAB_ARGUMENT',
    });
  });
});

test('closing ends its commands', async () => {
  const other = await startLab({ devices: [] });
  const command = await other.spawn(['sleep', '1000'], { cwd: '/run' });
  await other.close();
  await other.close();
  await expect(command.exit).rejects.toMatchObject({ code: 'LAB_CLOSED' });
  await expect(other.run(['true'])).rejects.toMatchObject({ code: 'LAB_CLOSED' });
});
