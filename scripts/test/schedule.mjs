// Runs jobs side by side. Each is a process group whose output is shown whole when it has ended.
import { spawn } from 'node:child_process';
import { root } from '../ready.mjs';

/** Milliseconds between asking a job to end and killing it. */
const GRACE = 5000;

/**
 * Runs jobs, at most `slots` at once, in the order given.
 *
 * @param jobs `{ name, commands: [{ command, args, env }] }`: the commands run one after the other,
 *   up to the first that fails
 * @param onEnd sees `{ job, passed, seconds, output }` as each ends
 * @returns what `onEnd` saw, in the order of the jobs; those that were not run are missing
 */
export async function runJobs(jobs, slots, onEnd) {
  const running = new Set();
  let ended;
  const stop = (signal) => {
    if (ended !== undefined) for (const child of running) killGroup(child, 'SIGKILL');
    ended ??= signal;
    for (const child of running) killGroup(child, 'SIGTERM');
    setTimeout(() => {
      for (const child of running) killGroup(child, 'SIGKILL');
    }, GRACE).unref();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, stop);
  const queue = [...jobs];
  const results = new Map();
  const work = async () => {
    for (let job = queue.shift(); job !== undefined && ended === undefined; job = queue.shift()) {
      const result = await runJob(job, running, () => ended !== undefined);
      if (ended !== undefined) return;
      results.set(job, result);
      onEnd(result);
    }
  };
  await Promise.all(Array.from({ length: slots }, work));
  for (const signal of signals) process.off(signal, stop);
  if (ended !== undefined) process.kill(process.pid, ended);
  return jobs.flatMap((job) => results.get(job) ?? []);
}

async function runJob(job, running, stopped) {
  const start = Date.now();
  const output = [];
  let passed = true;
  for (const step of job.commands) {
    if (!passed || stopped()) break;
    passed = (await runCommand(step, output, running)) === 0;
  }
  const text = Buffer.concat(output).toString();
  return { job, passed, seconds: (Date.now() - start) / 1000, output: text };
}

function runCommand({ command, args, env = {} }, output, running) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: Ctrl-C reaches only this process, which then ends them all.
      detached: true,
    });
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => output.push(chunk));
    }
    child.on('error', (error) => output.push(Buffer.from(`${command}: ${error.message}\n`)));
    child.on('close', (status) => {
      running.delete(child);
      // What it left in its group would go on beside the next job.
      killGroup(child, 'SIGKILL');
      resolve(status ?? 1);
    });
  });
}

function killGroup(child, signal) {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended.
  }
}
