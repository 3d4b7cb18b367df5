#!/usr/bin/env node
// npm test: every check there is, as many side by side as there are cores, and where the time went.
import { mkdirSync, rmSync } from 'node:fs';
import { build, hasLabKernel, ready, root } from './ready.mjs';
import { parseCommandLine } from './test/options.mjs';
import { inSources, readTimes, report } from './test/report.mjs';
import { runJobs } from './test/schedule.mjs';
import { jobsOf, needsLabKernel, TIMES } from './test/suites.mjs';
import { Times } from './test/times.mjs';

process.chdir(root);
const options = parseCommandLine();
const { patterns, slots, testName } = options;
const start = Date.now();

if (options.suites.some(({ vm, project }) => vm || project === 'lab')) await ready();
else await build();
const missing = hasLabKernel() ? [] : options.suites.filter(needsLabKernel);
const chosen = options.suites.filter((suite) => !missing.includes(suite));

rmSync(TIMES, { recursive: true, force: true });
mkdirSync(TIMES, { recursive: true });
const times = new Times();
const wanted = patterns.length
  ? (file) => patterns.some((pattern) => file.includes(pattern))
  : undefined;
const parts = { wanted, slots, testName, times };
const jobs = (await Promise.all(chosen.map((suite) => jobsOf(suite, parts)))).flat();
if (options.full) process.env.VFIO_TEST_FULL = '1';
const prepared = (Date.now() - start) / 1000;

console.log(`${jobs.length} jobs, ${Math.min(slots, jobs.length)} at once`);
const results = await runJobs(jobs, slots, ({ job, passed, seconds, output }) => {
  console.log(`\n=== ${job.title}: ${passed ? 'passed' : 'FAILED'} in ${seconds.toFixed(1)} s`);
  process.stdout.write(inSources(output));
});

if (patterns.length === 0 && testName === undefined) {
  for (const { job, passed } of results) {
    const measured = passed ? readTimes(job) : undefined;
    for (const { file, ms } of measured?.files ?? []) times.learn(job.place, file, ms);
  }
  times.save();
}
console.log(`\n${report(results)}`);
const total = (Date.now() - start) / 1000;
console.log(`\n${total.toFixed(0)} s in all, ${prepared.toFixed(0)} s of them to get ready`);
const absent = missing.map(({ title }) => title).join('; ');
if (absent)
  console.log(`not run, as there is no lab kernel (npm run lab-kernel builds it): ${absent}`);
if (jobs.length === 0) console.error('no test file matches');
const failed = results.filter(({ passed }) => !passed).length;
console.log(`${results.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 && jobs.length > 0 ? 0 : 1);
