// The command line of npm test.
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { QUICK, suites } from './suites.mjs';

const usage = `Usage: npm test -- [options] [FILE...]

Run every check there is, or only the tests in files whose paths contain one of FILE.

  --quick         format, types, unit tests and addon only: no VM
  --full          the long forms of tests, too (npm run test:full)
  --suite NAME    only this suite, repeatable; one of
                  ${suites.map(({ name }) => name).join(', ')}
  -t, --test REGEXP  only tests whose full names match
  --jobs N        how many jobs run at once (default: one per core)
  -h, --help      show this

Exit codes: 0 all passed, 1 something failed, 2 wrong arguments.`;

/** Ends the process if the command line is wrong, or asks for help. */
export function parseCommandLine() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        full: { type: 'boolean' },
        suite: { type: 'string', multiple: true },
        test: { type: 'string', short: 't' },
        jobs: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const names = suites.map(({ name }) => name);
    const unknown = values.suite?.find((name) => !names.includes(name));
    if (unknown !== undefined) throw new Error(`no suite ${unknown}`);
    if (values.quick && values.suite) throw new Error('--quick and --suite exclude each other');
    const jobs = values.jobs ?? String(availableParallelism());
    if (!/^[1-9]\d?$/.test(jobs)) throw new Error(`--jobs ${jobs}: 1 to 99`);
    const chosen = values.suite ?? (values.quick ? QUICK : names);
    return {
      suites: suites.filter(({ name }) => chosen.includes(name)),
      full: values.full ?? false,
      slots: Number(jobs),
      testName: values.test,
      patterns: positionals,
    };
  } catch (error) {
    console.error(`test: ${error.message}\n\n${usage}`);
    process.exit(2);
  }
}
