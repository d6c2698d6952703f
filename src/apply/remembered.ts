import type { Synced } from './compare.ts';

/** What is in sync, by `keyOf`; and of which objects that changed since that was asked for last. */
export class Remembered extends Map<string, Synced> {
  readonly #touched = new Set<string>();

  override set(key: string, value: Synced): this {
    this.#touched.add(key);
    return super.set(key, value);
  }

  override delete(key: string): boolean {
    this.#touched.add(key);
    return super.delete(key);
  }

  takeTouched(): ReadonlySet<string> {
    const taken = new Set(this.#touched);
    this.#touched.clear();
    return taken;
  }

  /** What was taken was not made use of. */
  touch(keys: Iterable<string>): void {
    for (const key of keys) this.#touched.add(key);
  }
}
