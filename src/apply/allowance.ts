import type { Millis } from '../model/time.ts';
import type { AppliedStore } from './applied.ts';
import type { Inventory } from './compare.ts';
import { keyOf, type LiveObject } from './objects.ts';

/** How many objects may be deleted at once that no later epoch replaces: what is pruned, and what is made anew, which takes its pod down as well. */
export interface DeleteRules {
  /** Of all objects that carry our label, this share, 0 to 1, or `floor` objects if that is more, within `window`. */
  readonly share: number;
  readonly floor: number;
  readonly window: Millis;
}

/** What of it one pass may use. What was deleted before is read from the database once, when it matters; so a restart gives no new budget. */
export interface Allowance {
  /** What is in the budget already, by `keyOf`: to try one again costs nothing. */
  spent(): Promise<ReadonlySet<string>>;
  /** May be negative. */
  left(): Promise<number>;
  /** Before they are deleted. Throws as `AppliedStore.spend`. */
  spend(objects: readonly LiveObject[]): Promise<void>;
  /** Of one that is to be made anew: true, and spent, if it may be deleted now. Throws as `spend`. */
  claim(live: LiveObject): Promise<boolean>;
}

interface AllowanceOptions {
  readonly store: Pick<AppliedStore, 'spent' | 'spend'>;
  readonly inventory: Pick<Inventory, 'objects'>;
  readonly rules: DeleteRules;
  /** Named in events. */
  readonly cycle: string | null;
}

export function openAllowance({ store, inventory, rules, cycle }: AllowanceOptions): Allowance {
  let reading: Promise<Set<string>> | null = null;
  const read = (): Promise<Set<string>> => (reading ??= store.spent(rules.window).then((keys) => new Set(keys)));
  const leftOf = (keys: ReadonlySet<string>): number => Math.max(rules.floor, Math.floor(inventory.objects.size * rules.share)) - keys.size;
  return {
    spent: read,
    left: async () => leftOf(await read()),
    spend: async (objects) => {
      const keys = await read();
      for (const { ref } of objects) keys.add(keyOf(ref));
      await store.spend(objects, cycle);
    },
    claim: async (live) => {
      const keys = await read();
      if (keys.has(keyOf(live.ref))) return true;
      if (leftOf(keys) <= 0) return false;
      // Before anything is waited for: many ask at once.
      keys.add(keyOf(live.ref));
      await store.spend([live], cycle, 'immutable');
      return true;
    },
  };
}
