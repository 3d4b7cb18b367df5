/** Order among the operations of an address space: many share a turn, or one has it alone. */
export class Turn {
  #sharing = 0;
  #alone = false;
  readonly #waiting: Array<{ readonly alone: boolean; readonly begin: () => void }> = [];

  /**
   * Run `operation` together with others that share, after whatever asked for the turn before and has it
   * alone. If nothing is in the way, it has begun when this returns.
   */
  async share<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#alone || this.#waiting.length > 0) await this.#wait(false);
    else this.#sharing++;
    try {
      return await operation();
    } finally {
      this.#sharing--;
      this.#next();
    }
  }

  /** Run `operation` after everything that asked before, and before everything that asks later. */
  async alone<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#alone || this.#sharing > 0 || this.#waiting.length > 0) await this.#wait(true);
    else this.#alone = true;
    try {
      return await operation();
    } finally {
      this.#alone = false;
      this.#next();
    }
  }

  #wait(alone: boolean): Promise<void> {
    return new Promise((begin) => this.#waiting.push({ alone, begin }));
  }

  #next(): void {
    for (let [first] = this.#waiting; first && !this.#alone; [first] = this.#waiting) {
      if (first.alone && this.#sharing > 0) return;
      this.#waiting.shift();
      if (first.alone) this.#alone = true;
      else this.#sharing++;
      first.begin();
    }
  }
}
