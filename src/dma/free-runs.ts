/**
 * The free runs of an address space, in pages: a B+ tree ordered by address, in which every entry
 * knows the longest run below it. Nodes are stretches of typed arrays: nothing is allocated per run.
 *
 * Page numbers are doubles, exact to 2^53: a 64-bit address space has at most 2^52 pages.
 */

/** Entries of a node. A leaf's entry is a run: its first page and its length. */
const FANOUT = 16;
/** A root splits only after some (FANOUT / 2)^levels insertions. */
const MAX_LEVELS = 16;
/** Misaligned runs that a search looks at before it asks for one that fits however it is aligned. */
const TRIES = 32;

export class FreeRuns {
  /** By entry, FANOUT to a node: the first page, the longest run, the node below (none in a leaf). */
  #first = new Float64Array(FANOUT);
  #longest = new Float64Array(FANOUT);
  #child = new Int32Array(FANOUT);
  /** By node: entries in use. No node but an empty tree's root has none. */
  #count = new Uint8Array(1);
  /** Nodes given back. */
  readonly #vacant: number[] = [];
  #nodes = 1;
  #root = 0;
  /** Level of the root; leaves are level 0. */
  #top = 0;
  /** By level: where the latest descent went. At level 0 the index is -1 if no run starts so low. */
  readonly #node = new Int32Array(MAX_LEVELS);
  readonly #index = new Int32Array(MAX_LEVELS);
  #tries = 0;
  #pages = 0;

  /** Free pages in all. */
  get pages(): number {
    return this.#pages;
  }

  /** Pages of the longest run; 0 if nothing is free. */
  get longest(): number {
    return this.#longestIn(this.#root);
  }

  /** Levels of the tree. */
  get height(): number {
    return this.#top + 1;
  }

  /**
   * The lowest multiple of `step` from which `pages` pages are free, all of them below `limit`; -1 if
   * there is none. Page 0 is never found. With a `step` above 1, where many runs are long enough
   * but misaligned, it may be a higher one; every run is looked at only when there is no other way.
   */
  find(pages: number, step: number, limit: number): number {
    this.#tries = TRIES;
    const lowest = this.#find(this.#root, this.#top, pages, pages, step, limit);
    if (lowest >= 0 || this.#tries > 0) return lowest;
    this.#tries = Number.POSITIVE_INFINITY;
    const roomy = this.#find(this.#root, this.#top, pages + step - 1, pages, step, limit);
    if (roomy >= 0) return roomy;
    return this.#find(this.#root, this.#top, pages, pages, step, limit);
  }

  /** Take [start, end) out. False, and nothing changes, unless all of it is free. */
  take(start: number, end: number): boolean {
    this.#descend(start);
    if (this.#index[0]! < 0) return false;
    const run = this.#entry(0);
    const runStart = this.#first[run]!;
    const runEnd = runStart + this.#longest[run]!;
    if (runEnd < end) return false;
    this.#pages -= end - start;
    if (start > runStart) {
      this.#resize(runStart, start);
      if (end < runEnd) this.#insert(end, runEnd);
    } else if (end < runEnd) {
      this.#resize(end, runEnd);
    } else {
      this.#remove();
    }
    return true;
  }

  /** Make [start, end) free. False, and nothing changes, if some of it is free already. */
  add(start: number, end: number): boolean {
    this.#descend(start);
    const before = this.#index[0]! < 0 ? -1 : this.#entry(0);
    const beforeStart = before < 0 ? -1 : this.#first[before]!;
    const beforeEnd = before < 0 ? -1 : beforeStart + this.#longest[before]!;
    const after = this.#entryAfter();
    const afterStart = after < 0 ? Number.POSITIVE_INFINITY : this.#first[after]!;
    if (beforeEnd > start || afterStart < end) return false;
    this.#pages += end - start;
    const newEnd = afterStart === end ? end + this.#longest[after]! : end;
    if (beforeEnd === start) {
      this.#resize(beforeStart, newEnd);
      if (newEnd === end) return true;
      this.#descend(end);
      this.#remove();
    } else if (newEnd > end) {
      this.#descend(end);
      this.#resize(start, newEnd);
    } else {
      this.#insert(start, end);
    }
    return true;
  }

  /** `need`: the least length of a run worth a look. */
  #find(
    node: number,
    level: number,
    need: number,
    pages: number,
    step: number,
    limit: number,
  ): number {
    const lengths = this.#longest;
    const end = node * FANOUT + this.#count[node]!;
    for (let entry = node * FANOUT; entry < end; entry++) {
      const longest = lengths[entry]!;
      if (longest < need) continue;
      const first = this.#first[entry]!;
      if (first >= limit) return -1;
      if (level > 0) {
        const found = this.#find(this.#child[entry]!, level - 1, need, pages, step, limit);
        if (found >= 0 || this.#tries <= 0) return found;
        continue;
      }
      const at = Math.ceil(Math.max(first, 1) / step) * step;
      if (at + pages <= Math.min(first + longest, limit)) return at;
      if (--this.#tries <= 0) return -1;
    }
    return -1;
  }

  /** To the run with the highest start at or below `page`. */
  #descend(page: number): void {
    const firsts = this.#first;
    let node = this.#root;
    for (let level = this.#top; ; level--) {
      const begin = node * FANOUT;
      let low = begin;
      let high = begin + this.#count[node]!;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (firsts[middle]! <= page) low = middle + 1;
        else high = middle;
      }
      this.#node[level] = node;
      if (level === 0) {
        this.#index[0] = low - 1 - begin;
        return;
      }
      const entry = Math.max(low - 1, begin);
      this.#index[level] = entry - begin;
      node = this.#child[entry]!;
    }
  }

  /** Where the latest descent passed `level`. */
  #entry(level: number): number {
    return this.#node[level]! * FANOUT + this.#index[level]!;
  }

  /** The run after the one of the latest descent; -1 at the end. */
  #entryAfter(): number {
    let level = 0;
    while (this.#index[level]! + 1 >= this.#count[this.#node[level]!]!) {
      if (level++ === this.#top) return -1;
    }
    let entry = this.#entry(level) + 1;
    for (; level > 0; level--) entry = this.#child[entry]! * FANOUT;
    return entry;
  }

  #longestIn(node: number): number {
    const lengths = this.#longest;
    const end = node * FANOUT + this.#count[node]!;
    let longest = 0;
    for (let entry = node * FANOUT; entry < end; entry++) {
      if (lengths[entry]! > longest) longest = lengths[entry]!;
    }
    return longest;
  }

  /** Make the run of the latest descent [start, end). */
  #resize(start: number, end: number): void {
    const run = this.#entry(0);
    const was = this.#longest[run]!;
    this.#set(run, start, end - start, 0);
    this.#sumUp(0, was, end - start);
  }

  /** A new run after the one of the latest descent. */
  #insert(start: number, end: number): void {
    while (this.#count[this.#node[0]!] === FANOUT) {
      this.#split(0);
      this.#descend(start);
    }
    this.#set(this.#makeRoom(0), start, end - start, 0);
    this.#sumUp(0, 0, end - start);
  }

  /** Drop the run of the latest descent, and nodes left empty. */
  #remove(): void {
    let level = 0;
    for (; ; level++) {
      const node = this.#node[level]!;
      const was = this.#longest[this.#entry(level)]!;
      const last = node * FANOUT + --this.#count[node]!;
      for (let to = this.#entry(level); to < last; to++) this.#copy(to, to + 1);
      if (this.#count[node]! > 0) {
        this.#sumUp(level, was, 0);
        break;
      }
      if (level === this.#top) {
        this.#top = 0;
        return;
      }
      this.#vacant.push(node);
    }
    while (this.#top > 0 && this.#count[this.#root] === 1) {
      this.#vacant.push(this.#root);
      this.#root = this.#child[this.#root * FANOUT]!;
      this.#top--;
    }
  }

  /** After a length in the node at `level` went from `was` to `is`, or its first entry changed. */
  #sumUp(level: number, was: number, is: number): void {
    for (let above = level + 1; above <= this.#top; above++) {
      const node = this.#node[above - 1]!;
      const entry = this.#entry(above);
      const first = this.#first[node * FANOUT]!;
      const old = this.#longest[entry]!;
      const longest = is >= old ? is : was < old ? old : this.#longestIn(node);
      if (longest === old && first === this.#first[entry]) return;
      this.#first[entry] = first;
      this.#longest[entry] = longest;
      was = old;
      is = longest;
    }
  }

  /** Move half of the full node at `level` to a new one; or of one above it, if there is no room for that. */
  #split(level: number): void {
    const node = this.#node[level]!;
    if (level === this.#top) {
      const root = this.#newNode();
      this.#set(root * FANOUT, this.#first[node * FANOUT]!, this.#longestIn(node), node);
      this.#count[root] = 1;
      this.#root = root;
      this.#top++;
      this.#node[this.#top] = root;
      this.#index[this.#top] = 0;
    }
    if (this.#count[this.#node[level + 1]!] === FANOUT) {
      this.#split(level + 1);
      return;
    }
    const upper = this.#newNode();
    const half = FANOUT / 2;
    for (let i = 0; i < half; i++) this.#copy(upper * FANOUT + i, node * FANOUT + half + i);
    this.#count[node] = half;
    this.#count[upper] = half;
    this.#longest[this.#entry(level + 1)] = this.#longestIn(node);
    const entry = this.#makeRoom(level + 1);
    this.#set(entry, this.#first[upper * FANOUT]!, this.#longestIn(upper), upper);
  }

  #set(entry: number, first: number, longest: number, child: number): void {
    this.#first[entry] = first;
    this.#longest[entry] = longest;
    this.#child[entry] = child;
  }

  #copy(to: number, from: number): void {
    this.#first[to] = this.#first[from]!;
    this.#longest[to] = this.#longest[from]!;
    this.#child[to] = this.#child[from]!;
  }

  /** Open a gap after the latest descent's entry at `level`. */
  #makeRoom(level: number): number {
    const node = this.#node[level]!;
    const entry = this.#entry(level) + 1;
    const end = node * FANOUT + this.#count[node]!++;
    for (let to = end; to > entry; to--) this.#copy(to, to - 1);
    return entry;
  }

  #newNode(): number {
    const vacant = this.#vacant.pop();
    if (vacant !== undefined) return vacant;
    if (this.#nodes === this.#count.length) {
      const grown = <T extends Float64Array | Int32Array | Uint8Array>(to: T, from: T): T => {
        to.set(from);
        return to;
      };
      const nodes = 2 * this.#nodes;
      this.#first = grown(new Float64Array(nodes * FANOUT), this.#first);
      this.#longest = grown(new Float64Array(nodes * FANOUT), this.#longest);
      this.#child = grown(new Int32Array(nodes * FANOUT), this.#child);
      this.#count = grown(new Uint8Array(nodes), this.#count);
    }
    return this.#nodes++;
  }
}
