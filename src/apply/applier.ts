import type { RevisionId } from '../model/ids.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Action, ApplyReport, Outcome } from './actions.ts';
import { problemOf, type AppliedStore, type DriftRecord, type Problem } from './applied.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { compare, laterEpoch, pruneActions, removedProcessors, type ApplyRules, type Finding, type KindRef, type Synced } from './compare.ts';
import type { DesiredReader } from './desired.ts';
import type { Executor } from './execute.ts';
import type { LiveInventory } from './inventory.ts';
import { keyOf, type DesiredTree, type LiveObject } from './objects.ts';
import { diagnose, prepare, verify, type PrepareOptions } from './prepare.ts';

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

interface PassOptions {
  /** Nothing is written, neither to the cluster nor to the database; the server says what it would answer. */
  readonly dryRun: boolean;
  readonly adopt: boolean;
  /** Whether a commit without any object may empty the cluster. */
  readonly allowEmpty: boolean;
}

export interface PassReport extends ApplyReport {
  /** What was asked for, in the order of the comparison; skips included. */
  readonly actions: readonly Action[];
  readonly problems: readonly Problem[];
  readonly drifts: readonly DriftRecord[];
  /** When to look again although nothing changes; null: only if something does. */
  readonly due: Millis | null;
}

export interface ApplierOptions {
  readonly desired: DesiredReader;
  readonly inventory: LiveInventory;
  readonly executor: Executor;
  readonly objects: ClusterObjects;
  readonly store: AppliedStore;
  readonly rules: ApplyRules;
  readonly prune: { readonly share: number; readonly floor: number; readonly window: Millis };
  readonly clock: Clock;
  readonly log: Log;
  readonly assertLeading: () => Promise<void>;
}

/** Kinds that are watched whatever the tree holds: what a commit does not have any more is found there. */
const always: readonly KindRef[] = [{ apiVersion: 'apps/v1', kind: 'StatefulSet' }];
/** A list of 50,000 objects takes some ten seconds. What is not known by then is not touched. */
const firstList = seconds(30);
/** Texts of so many are held at once. */
const loadedAtOnce = 1_000;

interface State extends ApplierOptions {
  readonly synced: Map<string, Synced>;
  readonly lost: Set<string>;
  /** When what was deleted that nothing replaces was deleted, on the monotonic clock. */
  deletions: readonly Millis[];
  under: AbortController;
  /** Of drift that is only reported: what was told. */
  readonly told: Map<string, string>;
}

export function createApplier(options: ApplierOptions): Applier {
  const state: State = { ...options, synced: new Map(), lost: new Set(), deletions: [], under: new AbortController(), told: new Map() };
  return {
    pass: (how = {}) => pass(state, { dryRun: false, adopt: options.rules.adopt, allowEmpty: false, ...how }),
    overtake: () => { state.under.abort(); },
    forget: () => {
      state.synced.clear();
      state.lost.clear();
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
  const tree = await state.desired.newest();
  if (tree === null) return nothing;
  const committed = await state.store.committed();
  if (tree.revision < committed) {
    // The branch was set back, and is restored by the cycle: what is older must not be applied meanwhile.
    state.log.warn({ commit: tree.commit, revision: tree.revision, committed }, 'the newest commit of ours is older than what was committed: nothing is applied');
    return nothing;
  }
  await state.inventory.watch([...always, ...kindsOf(tree)]);
  await state.inventory.synced(firstList, state.under.signal);
  const work = startWork(state, tree, how);
  await applyAll(work);
  await pruneAll(work);
  return finish(work);
}

const nothing: PassReport = { commit: '', revision: 0 as RevisionId, outcomes: [], inSync: 0, requests: 0, complete: false, actions: [], problems: [], drifts: [], due: null };

function kindsOf(tree: DesiredTree): readonly KindRef[] {
  return [...new Map([...tree.objects.values()].map(({ ref: { apiVersion, kind } }) => [`${apiVersion}/${kind}`, { apiVersion, kind }])).values()];
}

/** What one pass is about, and what it has done so far. */
interface Work {
  readonly state: State;
  readonly tree: DesiredTree;
  readonly how: PassOptions;
  readonly rules: ApplyRules;
  readonly preparing: PrepareOptions;
  readonly actions: Action[];
  readonly outcomes: Outcome[];
  readonly drifts: DriftRecord[];
  requests: number;
  inSync: number;
}

function startWork(state: State, tree: DesiredTree, how: PassOptions): Work {
  const { desired, objects, synced, lost, clock } = state;
  return {
    state, tree, how,
    rules: { ...state.rules, adopt: how.adopt },
    preparing: { desired, objects, synced, lost, clock, dryRun: how.dryRun },
    actions: [], outcomes: [], drifts: [], requests: 0, inSync: 0,
  };
}

async function applyAll(work: Work): Promise<void> {
  const { state, tree, rules } = work;
  const findings = compare(tree, { inventory: state.inventory, synced: state.synced, rules, now: state.clock.monotonic() });
  const of = <Kind extends Finding['kind']>(kind: Kind) => findings.filter((finding): finding is Extract<Finding, { kind: Kind }> => finding.kind === kind);
  work.inSync = of('in-sync').length;
  await execute(work, of('skip'));
  await reportDrift(work, of('skip'));
  // What is known to differ goes first: after a start, everything else has to be compared, and that takes a while.
  for (const some of chunks(ordered(of('apply')))) await applySome(work, some);
  for (const some of chunks(of('verify'))) {
    if (state.under.signal.aborted) break;
    const differing = await verify(some, work.preparing, rules.drift === 'correct' || rules.adopt);
    work.inSync += some.length - differing.length;
    await applySome(work, differing);
  }
}

/** What processors need, such as their accounts, before them. */
function ordered(findings: readonly Extract<Finding, { kind: 'apply' }>[]): readonly Extract<Finding, { kind: 'apply' }>[] {
  return [...findings.filter(({ entry }) => entry.processorId === null), ...findings.filter(({ entry }) => entry.processorId !== null)];
}

function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < items.length; from += loadedAtOnce) yield items.slice(from, from + loadedAtOnce);
}

async function applySome(work: Work, findings: readonly Extract<Finding, { kind: 'apply' }>[]): Promise<void> {
  if (findings.length === 0 || work.state.under.signal.aborted) return;
  const { actions, drifts } = await prepare(findings, work.preparing);
  work.drifts.push(...drifts);
  await execute(work, actions);
}

async function execute(work: Work, actions: readonly Action[]): Promise<void> {
  if (actions.length === 0) return;
  const { state, how } = work;
  const { inventory, executor, assertLeading, under } = state;
  work.actions.push(...actions);
  const { outcomes, requests } = await executor.execute(actions, {
    signal: under.signal,
    assertLeading: how.dryRun ? () => Promise.resolve() : assertLeading,
    dryRun: how.dryRun,
    // Once more, right before it is sent: another leader may have been faster.
    objection: (action) => {
      const later = action.kind === 'apply' ? laterEpoch(action.desired, inventory) : null;
      return later === null ? null : { reason: 'higher-epoch', detail: later };
    },
    mayRecreate: ({ processorId }) => processorId !== null,
  });
  work.requests += requests;
  work.outcomes.push(...outcomes);
  if (!how.dryRun) remember(state, actions, outcomes);
}

/** What our fields amount to now, as the server answered. */
function remember({ synced, clock }: State, actions: readonly Action[], outcomes: readonly Outcome[]): void {
  const desired = new Map(actions.flatMap((action) => (action.kind === 'apply' ? [[keyOf(action.desired.ref), action.desired.digest] as const] : [])));
  for (const outcome of outcomes) {
    const key = keyOf(outcome.ref);
    const digest = desired.get(key);
    if (outcome.kind === 'pruned') synced.delete(key);
    if (digest === undefined || !('live' in outcome) || outcome.live === null) continue;
    synced.set(key, { desired: digest, owned: outcome.live.owned, resourceVersion: Number(outcome.live.resourceVersion), at: clock.monotonic() });
  }
}

/** Drift that is left alone is told once for each state that it is seen in. */
async function reportDrift({ state, tree, drifts, preparing, how }: Work, skips: readonly Extract<Action, { kind: 'skip' }>[]): Promise<void> {
  if (how.dryRun) return;
  for (const { ref, reason } of skips) {
    if (reason !== 'drift-reported') continue;
    const key = keyOf(ref);
    const [entry, owned] = [tree.objects.get(key), state.inventory.objects.get(key)?.owned ?? ''];
    if (entry === undefined || state.told.get(key) === owned) continue;
    state.told.set(key, owned);
    for (const desired of await preparing.desired.load([entry])) drifts.push(...(await diagnose(desired, entry.processorId, 'reported', preparing)));
  }
}

async function pruneAll(work: Work): Promise<void> {
  const { state, tree, how } = work;
  if (state.under.signal.aborted) return;
  const { share, floor, window } = state.prune;
  state.deletions = state.deletions.filter((at) => state.clock.monotonic() - at < window);
  const budget = Math.max(floor, Math.floor(state.inventory.objects.size * share)) - state.deletions.length;
  const removed = removedProcessors(tree, state.inventory);
  const known = removed.length === 0 ? new Set<string>() : await state.store.known(removed);
  const actions = pruneActions(tree, state.inventory, { budget, known, adopt: how.adopt, allowEmpty: how.allowEmpty });
  await execute(work, actions);
  if (how.dryRun) return;
  const gone = new Set(work.outcomes.flatMap(({ kind, ref }) => (kind === 'pruned' ? [keyOf(ref)] : [])));
  const lost = actions.filter((action) => action.kind === 'prune' && gone.has(keyOf(action.live.ref)) && (action.live.processorId === null || known.has(action.live.processorId)));
  state.deletions = [...state.deletions, ...lost.map(() => state.clock.monotonic())];
}

async function finish({ state, tree, how, actions, outcomes, drifts, requests, inSync }: Work): Promise<PassReport> {
  const problems = outcomes.flatMap((outcome) => problemOf(outcome, tree.objects.get(keyOf(outcome.ref))?.processorId ?? null) ?? []);
  const overtaken = state.under.signal.aborted;
  if (!how.dryRun) {
    const done = new Set(outcomes.filter(({ kind }) => kind === 'created' || kind === 'configured').map(({ ref }) => keyOf(ref)));
    await state.store.recordDrift(drifts.filter(({ ref, action }) => action === 'reported' || done.has(keyOf(ref))));
    // What a newer commit overtook says nothing of what is wrong.
    if (!overtaken) await state.store.record(tree, problems);
  }
  const retryAt = state.executor.retryAt();
  const waits = problems.some(({ reason }) => reason === 'delete-budget' || reason === 'partial-knowledge' || reason === 'no-answer' || reason === 'overtaken');
  const due = [...(retryAt === null ? [] : [Math.max(0, retryAt - state.clock.monotonic())]), ...(waits ? [seconds(5)] : [])];
  return {
    commit: tree.commit, revision: tree.revision, outcomes, inSync, requests, actions, problems, drifts,
    complete: !overtaken && problems.length === 0,
    due: due.length === 0 ? null : millis(Math.min(...due)),
  };
}
