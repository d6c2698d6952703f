import type { RevisionId } from '../model/ids.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { ApplyReport } from './actions.ts';
import { problemOf, type DriftRecord, type Problem } from './applied.ts';
import type { KindRef } from './compare.ts';
import { createContest } from './contest.ts';
import { keyOf, type DesiredTree, type LiveObject } from './objects.ts';
import { applyAll, startWork, type AppliedFor, type ApplierOptions, type PassOptions, type State, type Work } from './pass.ts';
import { inSyncNow } from './prepare.ts';
import { pruneAll, pruneSystem } from './prune.ts';
import { Remembered } from './remembered.ts';
import { byShard, ownedOf, type LeftShard } from './shards.ts';

/**
 * Brings the cluster to the newest commit of ours, and keeps it there: one pass compares all of it with what the watches show, does
 * what is asked for, and remembers what our fields amounted to afterwards. Where that is still so, the next pass sends nothing.
 *
 * What it remembers only saves requests. With nothing remembered, as after a start, committed values are compared with those of our
 * fields; so a crash anywhere is met by the next pass, on any instance.
 */
export interface Applier {
  /** @throws Failure as the repository, the database and `KubeAccess`; `not-leader` */
  pass(how?: Partial<PassOptions>): Promise<PassReport>;
  /** There is a newer commit: a pass under way begins nothing more. */
  overtake(): void;
  /** Another instance may have written since: nothing is remembered any more. */
  forget(): void;
  /** To be told of each change of the inventory; answers whether a pass should look at it. */
  changed(before: LiveObject | null, after: LiveObject | null): boolean;
}

export interface PassReport extends ApplyReport {
  /** Of what was sent, or was about to be. */
  readonly applied: readonly AppliedFor[];
  readonly problems: readonly Problem[];
  readonly drifts: readonly DriftRecord[];
  /** When to look again although nothing changes; null: only if something does. */
  readonly due: Millis | null;
  /** Why nothing was looked at: there never was a commit of ours, or the branch lacks what was committed last. */
  readonly withheld: 'no-commit' | 'older-commit' | null;
}

/** Kinds that are watched whatever the tree holds: what a commit does not have any more is found there. */
const always: readonly KindRef[] = [{ apiVersion: 'apps/v1', kind: 'StatefulSet' }];
/** A list of 50,000 objects takes some ten seconds. What is not known by then is not touched. */
const firstList = seconds(30);
export function createApplier(options: ApplierOptions): Applier {
  const state: State = { ...options, synced: new Remembered(), lost: new Set(), contest: createContest(options.clock), held: new Map(), under: new AbortController(), told: new Map(), recalled: false, tree: null };
  return {
    pass: (how = {}) => pass(state, { cycle: null, signal: null, dryRun: false, adopt: options.rules.adopt, allowEmpty: false, ...how }),
    overtake: () => { state.under.abort(); },
    forget: () => {
      state.synced.clear();
      state.lost.clear();
      state.held.clear();
      state.store.forget();
      state.system?.forget();
      state.recalled = false;
      state.tree = null;
    },
    changed: (before, after) => changed(state, before, after),
  };
}

/** What our own writes change is remembered already when the watch shows it, or is looked at once too often. */
function changed({ synced, lost }: State, before: LiveObject | null, after: LiveObject | null): boolean {
  if (after !== null) {
    const isSame = before !== null && before.owned === after.owned && before.terminating === after.terminating && before.trackedBy === after.trackedBy;
    return !isSame && (after.terminating || synced.get(keyOf(after.ref))?.owned !== after.owned);
  }
  const key = before === null ? '' : keyOf(before.ref);
  if (synced.delete(key)) lost.add(key);
  return true;
}

async function pass(state: State, how: PassOptions): Promise<PassReport> {
  state.under = new AbortController();
  const end = (): void => { state.under.abort(); };
  how.signal?.addEventListener('abort', end);
  if (how.signal?.aborted === true) end();
  try {
    const tree = await state.desired.newest();
    const committed = await state.store.committed();
    // The branch was set back, be it to before our first commit, and is restored by the cycle: what is older must not be applied meanwhile.
    if ((tree?.revision ?? 0) < committed) return nothing('older-commit');
    if (tree === null) return nothing('no-commit');
    return await passOver(state, tree, how);
  } finally {
    how.signal?.removeEventListener('abort', end);
  }
}

async function passOver(state: State, tree: DesiredTree, how: PassOptions): Promise<PassReport> {
  if (state.tree !== tree) dropStrangers(state, tree);
  state.tree = tree;
  const left = await state.store.left();
  await state.inventory.watch([...always, ...kindsOf(tree), ...leftKinds(left)]);
  await state.inventory.synced(firstList, state.under.signal);
  if (!state.recalled) recall(state, tree, left);
  const work = startWork(state, tree, how);
  if (!how.dryRun) await state.system?.expect(tree);
  await applyAll(work);
  await pruneAll(work);
  await pruneSystem(work);
  return finish(work);
}

/** What is remembered of objects that this commit does not have. */
function dropStrangers({ synced, lost, held }: State, { objects }: DesiredTree): void {
  for (const key of synced.keys()) if (!objects.has(key)) synced.delete(key);
  for (const key of lost) if (!objects.has(key)) lost.delete(key);
  for (const key of held.keys()) if (!objects.has(key)) held.delete(key);
}

function nothing(withheld: PassReport['withheld']): PassReport {
  return { commit: '', revision: 0 as RevisionId, outcomes: [], inSync: 0, requests: 0, complete: false, applied: [], problems: [], drifts: [], due: null, withheld };
}

/** Kinds of which something may be left, although no commit has them any more. */
function leftKinds(left: ReadonlyMap<string, LeftShard>): readonly KindRef[] {
  const names = new Set([...left.values()].flatMap(({ kinds }) => kinds));
  return [...names].map((name) => ({ apiVersion: name.slice(0, name.lastIndexOf('/')), kind: name.slice(name.lastIndexOf('/') + 1) }));
}

/** Of folders that are as they were left, by whichever instance, no text has to be compared, and no object to be applied to see how the server writes it. */
function recall(state: State, tree: DesiredTree, left: ReadonlyMap<string, LeftShard>): void {
  const { synced, inventory: { objects }, clock } = state;
  for (const shard of byShard(tree)) {
    const before = left.get(shard.shard);
    if (before?.digest !== shard.digest || before.owned === null || before.owned !== ownedOf(shard, (key) => objects.get(key)?.owned ?? null)) continue;
    for (const key of shard.keys) {
      const [entry, live] = [tree.objects.get(key), objects.get(key)];
      if (entry !== undefined && live?.terminating === false) synced.set(key, inSyncNow(entry, live, clock));
    }
  }
  // As it was recorded.
  synced.takeTouched();
  state.recalled = true;
}

function kindsOf(tree: DesiredTree): readonly KindRef[] {
  return [...new Map([...tree.objects.values()].map(({ ref: { apiVersion, kind } }) => [`${apiVersion}/${kind}`, { apiVersion, kind }])).values()];
}

async function finish({ state, tree, how, applied, outcomes, drifts, requests, inSync }: Work): Promise<PassReport> {
  const { store, synced, under, executor, contest, clock } = state;
  const problems = outcomes.flatMap((outcome) => problemOf(outcome, tree.objects.get(keyOf(outcome.ref))?.processorId ?? null) ?? []);
  const overtaken = under.signal.aborted;
  if (!how.dryRun) {
    const done = new Set(outcomes.filter(({ kind }) => kind === 'created' || kind === 'configured').map(({ ref }) => keyOf(ref)));
    await store.recordDrift(drifts.filter(({ ref, action }) => action === 'reported' || done.has(keyOf(ref))), how.cycle);
    // What a newer commit overtook says nothing of what is wrong.
    if (!overtaken) {
      const touched = synced.takeTouched();
      await store.record({ tree, problems, synced, touched }).catch((error: unknown) => {
        synced.touch(touched);
        throw error;
      });
    }
    const standing = new Set(problems.flatMap(({ object, reason }) => (reason === 'drift-reported' ? [object] : [])));
    state.told = new Map([...state.told].filter(([key]) => standing.has(key)));
  }
  const waits = problems.some(({ reason }) => soonAgain.has(reason));
  const due = [executor.retryAt(), contest.nextAt()].flatMap((at) => (at === null ? [] : [Math.max(0, at - clock.monotonic())])).concat(waits ? [seconds(5)] : []);
  return {
    commit: tree.commit, revision: tree.revision, outcomes, inSync, requests, applied, problems, drifts,
    complete: !overtaken && problems.length === 0,
    due: due.length === 0 ? null : millis(Math.min(...due)),
    withheld: null,
  };
}

/** What may be over soon without anybody telling. */
const soonAgain: ReadonlySet<string> = new Set(['delete-budget', 'partial-knowledge', 'no-answer', 'overtaken']);
