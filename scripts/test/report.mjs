// What a run of npm test says at its end: where the time went.
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { join, relative, resolve } from 'node:path';
import { root } from '../ready.mjs';
import { BUNDLES } from './vm-files.mjs';

const SLOWEST = 10;

/**
 * What jest did in a job, from its reporter: `startup` of jest, `loading` of files up to their first
 * tests, `tests`, and each file's and each test's part; milliseconds. Undefined if there is none.
 */
export function readTimes({ reported }) {
  if (reported === undefined || !existsSync(reported)) return undefined;
  const { startup, total, files } = JSON.parse(readFileSync(reported, 'utf8'));
  const all = files.flatMap((file) =>
    file.file.includes(`/${BUNDLES}/`) ? bundled(file) : [file],
  );
  const loading = files.reduce(
    (sum, { start, tests }) => sum + (tests[0]?.start ?? start) - start,
    0,
  );
  const ran = files.reduce((sum, { start, end }) => sum + end - start, 0);
  return {
    ...{ startup, total, loading },
    tests: ran - loading,
    files: all.map(({ file, start, end }) => ({ file: relative(root, file), ms: end - start })),
    each: all.flatMap(({ file, tests }) =>
      tests.map(({ ancestors, title, status, start, end }) => ({
        file: relative(root, file),
        name: [...ancestors, title].join(' > '),
        status,
        ms: end - start,
      })),
    ),
  };
}

/** The files of a bundle, from the blocks that their tests are in; each with its hooks. */
function bundled({ end, tests }) {
  const files = new Map();
  for (const { ancestors, ...test } of tests) {
    const [file, ...others] = ancestors;
    if (!files.has(file)) files.set(file, []);
    files.get(file).push({ ...test, ancestors: others });
  }
  const parts = [...files].map(([file, own]) => ({
    file: join(root, file),
    start: Math.min(...own.map(({ start }) => start)),
    tests: own,
  }));
  parts.sort((a, b) => a.start - b.start);
  return parts.map((part, i) => ({ ...part, end: parts[i + 1]?.start ?? end }));
}

const seconds = (ms) => (ms === undefined ? '' : (ms / 1000).toFixed(1));

/** The table of all jobs, and the slowest files and tests. */
export function report(results) {
  const measured = results.map((result) => ({ ...result, times: readTimes(result.job) }));
  const columns = ['', '', 'seconds', 'boot', 'jest', 'loading', 'tests', 'passed', 'skipped'];
  const rows = measured.map(({ job, passed, seconds: wall, times }) => [
    passed ? 'pass' : 'FAIL',
    job.title,
    wall.toFixed(1),
    job.vm && times ? seconds(wall * 1000 - times.total) : '',
    ...[times?.startup, times?.loading, times?.tests].map(seconds),
    ...['passed', 'pending'].map((status) =>
      times ? String(times.each.filter((test) => test.status === status).length) : '',
    ),
  ]);
  const files = measured.flatMap(({ job, times }) =>
    (times?.files ?? []).map(({ file, ms }) => [seconds(ms), `${file} (${job.name})`]),
  );
  const tests = measured.flatMap(({ job, times }) =>
    (times?.each ?? []).map(({ file, name, ms }) => [
      seconds(ms),
      `${file} (${job.name}): ${name}`,
    ]),
  );
  return [
    '=== where the time went',
    ...table([columns, ...rows], 2),
    '',
    '=== the slowest files, in seconds',
    ...table(slowest(files), 0),
    '',
    '=== the slowest tests, in seconds',
    ...table(slowest(tests), 0),
  ].join('\n');
}

const slowest = (rows) => [...rows].sort(([a], [b]) => b - a).slice(0, SLOWEST);

/** Lines of a table; columns from `right` on are numbers. */
function table(rows, right) {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i].length))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, i) => {
        if (right === 0 ? i === 0 : i >= right) return cell.padStart(widths[i]);
        return i === row.length - 1 ? cell : cell.padEnd(widths[i]);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** The output of a job, with places in bundles replaced by those in their sources. */
export function inSources(output) {
  const maps = new Map();
  return output.replace(
    /[\w./-]*?([\w-]+\.test\.js):(\d+):(\d+)/g,
    (place, bundle, line, column) => {
      if (!maps.has(bundle)) maps.set(bundle, mapOf(bundle));
      const found = maps.get(bundle)?.findEntry(Number(line) - 1, Number(column) - 1);
      if (found?.originalSource === undefined) return place;
      const source = relative(root, resolve(root, BUNDLES, found.originalSource));
      return `${source}:${found.originalLine + 1}:${found.originalColumn + 1}`;
    },
  );
}

function mapOf(bundle) {
  const path = join(root, BUNDLES, `${bundle}.map`);
  return existsSync(path) ? new SourceMap(JSON.parse(readFileSync(path, 'utf8'))) : undefined;
}
