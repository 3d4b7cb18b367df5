/** What a queue counts: packets, bytes, errors. */

/** Numbers up to here stay in registers, and sums of two of them are exact there. */
const MANY = 1 << 29;

/**
 * A number that grows without bound and without an object: a field holds what is recent, within 31 bits,
 * and an array the rest.
 */
export class QueueCounter {
  private recent = 0;
  private readonly older = new Float64Array(1);

  get value(): number {
    return this.older[0]! + this.recent;
  }

  /** @param count less than 2 ** 29 */
  add(count: number): void {
    const sum = (this.recent + count) | 0;
    if (sum < MANY) {
      this.recent = sum;
      return;
    }
    this.older[0]! += sum;
    this.recent = 0;
  }
}
