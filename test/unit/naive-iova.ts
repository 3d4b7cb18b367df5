/** The allocator that cannot be wrong: a byte per page, searched from the start. */
export class NaiveIova {
  /** 1: free. */
  readonly free: Uint8Array;
  /** 1: within the ranges. */
  readonly inside: Uint8Array;

  /** `ranges`: [first, end) in pages. */
  constructor(pages: number, ranges: ReadonlyArray<readonly [number, number]>) {
    this.inside = new Uint8Array(pages);
    for (const [first, end] of ranges) this.inside.fill(1, first, end);
    this.free = this.inside.slice();
  }

  get freePages(): number {
    let sum = 0;
    for (const free of this.free) sum += free;
    return sum;
  }

  /** The lowest page; -1 if none fits. `origin` is the number of page 0 in the address space. */
  find(pages: number, step: number, limit: number, origin: number): number {
    for (let first = 0; first + pages <= Math.min(limit, this.free.length); first++) {
      if ((first + origin) % step !== 0 || first + origin === 0) continue;
      if (this.all(this.free, first, pages)) return first;
    }
    return -1;
  }

  all(column: Uint8Array, first: number, pages: number): boolean {
    for (let page = first; page < first + pages; page++) if (column[page] !== 1) return false;
    return true;
  }

  mark(first: number, pages: number, free: 0 | 1): void {
    this.free.fill(free, first, first + pages);
  }
}
