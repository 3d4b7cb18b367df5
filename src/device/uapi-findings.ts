/** What a probe of the ABI finds, and how findings of several places become one. */

export interface UapiFinding {
  /** null: not probed, or no telling. */
  readonly present: boolean | null;
  /** What the answer rests on. */
  readonly because: string;
}

/** Of a feature, also in which directions. */
export interface FeatureFinding extends UapiFinding {
  readonly get: boolean | null;
  readonly set: boolean | null;
}

/** Findings by name; what is present somewhere is present. */
export class Findings<T extends UapiFinding = UapiFinding> {
  readonly #byName = new Map<string, T>();

  note(name: string, finding: T): void {
    const known = this.#byName.get(name);
    const rank = ({ present }: UapiFinding) => (present === null ? 0 : present ? 2 : 1);
    if (!known || rank(finding) > rank(known)) this.#byName.set(name, finding);
  }

  get(name: string): T | undefined {
    return this.#byName.get(name);
  }

  /** In the order of `names`; those without a finding get `otherwise`. */
  inOrder(names: readonly string[], otherwise: T): Record<string, T> {
    return Object.fromEntries(names.map((name) => [name, this.#byName.get(name) ?? otherwise]));
  }
}
