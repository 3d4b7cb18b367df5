/** `npm test` itself: how files are dealt to VMs, how jobs run and end, and what is reported. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const scripts = join(__dirname, '../../scripts/test');

/** A program that begins with an import of `names` from a script. */
const program = (script: string, names: string, body: string) => [
  '--input-type=module',
  '--eval',
  `import { ${names} } from ${JSON.stringify(`file://${join(scripts, script)}`)};\n${body}`,
];

async function output(script: string, names: string, body: string): Promise<string> {
  return (await promisify(execFile)(process.execPath, program(script, names, body))).stdout;
}

async function evaluate(script: string, name: string, expression: string): Promise<unknown> {
  return JSON.parse(await output(script, name, `console.log(JSON.stringify(${expression}));`));
}

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vfio-runner-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

test('files are dealt so that no VM has much more to do than another', async () => {
  expect(await evaluate('deal.mjs', 'deal', 'deal([5, 1, 9, 4, 3, 2], 2, (n) => n)')).toEqual([
    { items: [9, 3], cost: 12 },
    { items: [5, 4, 2, 1], cost: 12 },
  ]);
  expect(await evaluate('deal.mjs', 'deal', 'deal([1], 2, (n) => n)')).toEqual([
    { items: [1], cost: 1 },
    { items: [], cost: 0 },
  ]);
});

test('each file of test/vm says on which kernel it runs, and none is forgotten', async () => {
  const files = (await evaluate(
    'vm-files.mjs',
    'testFiles, vmFiles',
    "[testFiles('test/vm'), vmFiles('stock'), vmFiles('lab')]",
  )) as [string[], string[], string[]];
  const [all, stock, lab] = files;
  expect(new Set([...stock, ...lab])).toEqual(new Set(all));
  expect(stock).toContain('test/vm/edu.test.ts');
  expect(lab).not.toContain('test/vm/edu.test.ts');
  expect(lab).toContain('test/vm/iommufd.test.ts');
  expect(stock).not.toContain('test/vm/iommufd.test.ts');
});

const shell = (script: string) => ({ command: 'sh', args: ['-c', script] });

test('a job that fails hides no other, and the output of each is whole', async () => {
  const slow = 'for i in 1 2 3; do echo slow $i; sleep 0.1; done';
  const jobs = [
    { name: 'slow', commands: [shell(slow), shell('exit 3'), shell('echo never')] },
    { name: 'quick', commands: [shell('echo quick; sleep 0.1; echo quick >&2')] },
    { name: 'absent', commands: [{ command: join(directory, 'none'), args: [] }] },
  ];
  const body = `
    const seen = [];
    const results = await runJobs(${JSON.stringify(jobs)}, 2, ({ job }) => seen.push(job.name));
    console.log(JSON.stringify({ seen, results }));`;
  const { seen, results } = JSON.parse(await output('schedule.mjs', 'runJobs', body));
  expect(seen.sort()).toEqual(['absent', 'quick', 'slow']);
  expect(results).toMatchObject([
    { job: { name: 'slow' }, passed: false, output: 'slow 1\nslow 2\nslow 3\n' },
    { job: { name: 'quick' }, passed: true, output: 'quick\nquick\n' },
    { job: { name: 'absent' }, passed: false, output: expect.stringContaining('ENOENT') },
  ]);
});

test('Ctrl-C ends what the jobs have started, and starts no other', async () => {
  const [pid, later] = [join(directory, 'pid'), join(directory, 'later')];
  const jobs = [
    { name: 'endless', commands: [shell(`trap '' INT; sleep 1000 & echo $! >${pid}; wait`)] },
    { name: 'later', commands: [shell(`touch ${later}`)] },
  ];
  const body = `await runJobs(${JSON.stringify(jobs)}, 1, () => {});`;
  const child = spawn(process.execPath, program('schedule.mjs', 'runJobs', body));
  while (!existsSync(pid) || readFileSync(pid, 'utf8') === '') {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill('SIGINT');
  const [, signal] = await once(child, 'exit');
  expect(signal).toBe('SIGINT');
  const left = `/proc/${readFileSync(pid, 'utf8').trim()}`;
  expect(existsSync(left) && /^State:\s+[^Z]/m.test(readFileSync(`${left}/status`, 'utf8'))).toBe(
    false,
  );
  expect(existsSync(later)).toBe(false);
});

test('the time of a bundle is that of its files, each with its hooks', async () => {
  const reported = join(directory, 'times.json');
  const at = (file: string, title: string, start: number, end: number) => ({
    ...{ ancestors: [file], title, status: 'passed', start, end },
  });
  const tests = [at('a.test.ts', 'one', 500, 600), at('a.test.ts', 'two', 600, 900)];
  tests.push(at('b.test.ts', 'three', 1000, 1500));
  const file = { file: '/somewhere/build/vm/vm.test.js', start: 400, end: 1600, tests };
  writeFileSync(reported, JSON.stringify({ startup: 300, total: 1700, files: [file] }));
  const job = { title: 'VM', name: 'vm', vm: [], reported };
  const call = (name: string, argument: unknown) => `${name}(${JSON.stringify(argument)})`;
  expect(await evaluate('report.mjs', 'readTimes', call('readTimes', job))).toMatchObject({
    ...{ startup: 300, loading: 100, tests: 1100 },
    files: [
      { file: 'a.test.ts', ms: 500 },
      { file: 'b.test.ts', ms: 600 },
    ],
  });
  const results = [{ job, passed: true, seconds: 10 }];
  const text = await evaluate('report.mjs', 'report', call('report', results));
  expect(text).toMatch(/^pass +VM +10\.0 +8\.3 +0\.3 +0\.1 +1\.1 +3 +0$/m);
  expect(text).toMatch(/the slowest files.*\n0\.6 +b\.test\.ts \(vm\)\n0\.5 +a\.test\.ts/);
  expect(text).toContain('0.5  b.test.ts (vm): three');
});
