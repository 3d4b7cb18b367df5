/**
 * A reporter of jest that writes when everything happened to the file named by VFIO_TEST_TIMES, as
 * JSON: `startup`, when the first file began; `total`, when the last had ended; and for each of
 * `files` its `start`, its `end` and its `tests` with `ancestors`, `title`, `start`, `end` and
 * `status`. Milliseconds from the start of the process.
 */
const { writeFileSync } = require('node:fs');

const now = () => Math.round(process.uptime() * 1000);
const key = ({ ancestorTitles, title }) => [...ancestorTitles, title].join('\0');

class TimesReporter {
  #startup;
  #files = new Map();

  onTestFileStart({ path }) {
    const start = now();
    this.#startup ??= start;
    this.#files.set(path, { file: path, start, end: start, tests: [], running: new Map() });
  }

  onTestCaseStart({ path }, test) {
    this.#files.get(path)?.running.set(key(test), now());
  }

  onTestCaseResult({ path }, test) {
    const file = this.#files.get(path);
    if (file === undefined) return;
    const end = now();
    const { ancestorTitles, title, status } = test;
    const start = file.running.get(key(test)) ?? end;
    file.tests.push({ ancestors: ancestorTitles, title, status, start, end });
  }

  onTestFileResult({ path }) {
    const file = this.#files.get(path);
    if (file !== undefined) file.end = now();
  }

  onRunComplete() {
    const target = process.env.VFIO_TEST_TIMES;
    if (!target) return;
    const files = [...this.#files.values()].map(({ running, ...file }) => file);
    writeFileSync(target, JSON.stringify({ startup: this.#startup ?? now(), total: now(), files }));
  }
}

module.exports = TimesReporter;
