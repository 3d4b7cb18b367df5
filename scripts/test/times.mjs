// How long test files took when they last ran, kept in the cache of the lab.
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from '../ready.mjs';

/** For a file that has never run. Most take about this, on an emulated processor. */
const MILLISECONDS_PER_BYTE = 3;

/** Milliseconds by place (`stock`, `lab`, `host`) and file. */
export class Times {
  #path;
  #known;

  constructor() {
    const { cacheDirectory } = createRequire(import.meta.url)(join(root, 'dist/lab.js'));
    this.#path = join(cacheDirectory(), 'test-times.json');
    try {
      this.#known = JSON.parse(readFileSync(this.#path, 'utf8'));
    } catch {
      this.#known = {};
    }
  }

  of(place, file) {
    const known = this.#known[place]?.[file];
    return known ?? statSync(join(root, file)).size * MILLISECONDS_PER_BYTE;
  }

  learn(place, file, milliseconds) {
    this.#known[place] = { ...this.#known[place], [file]: milliseconds };
  }

  save() {
    mkdirSync(dirname(this.#path), { recursive: true });
    const temporary = `${this.#path}.${process.pid}`;
    writeFileSync(temporary, `${JSON.stringify(this.#known, null, 1)}\n`);
    renameSync(temporary, this.#path);
  }
}
