import type { Clock } from '../platform/clock.ts';
import type { Action, Outcome } from './actions.ts';
import { openAllowance, type Allowance, type DeleteRules } from './allowance.ts';
import type { AppliedStore, DriftRecord } from './applied.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { compare, laterEpoch, newerRevision, type ApplyFinding, type ApplyRules, type Finding, type SkipFinding, type VerifyFinding } from './compare.ts';
import type { Contest } from './contest.ts';
import type { DesiredReader } from './desired.ts';
import type { Executor, Pass } from './execute.ts';
import type { LiveInventory } from './inventory.ts';
import { keyOf, type DesiredObject, type DesiredTree, type LiveObject, type ObjectRef } from './objects.ts';
import { inSyncNow, lookAt, prepare, report, verify, type PrepareOptions } from './prepare.ts';
import type { Remembered } from './remembered.ts';
import { heldBack, isOwnPlacement } from './recreate.ts';
import { rankOf } from './stages.ts';
import type { SystemObjects } from './system-objects.ts';

export interface ApplierOptions {
  readonly desired: DesiredReader;
  readonly inventory: LiveInventory;
  readonly executor: Executor;
  readonly objects: ClusterObjects;
  readonly store: AppliedStore;
  readonly rules: ApplyRules;
  /** Null: the manifests of the system itself are not applied. */
  readonly system: SystemObjects | null;
  readonly prune: DeleteRules;
  readonly clock: Clock;
  readonly assertLeading: () => Promise<void>;
}

export interface PassOptions {
  /** Named in the log and in events. */
  readonly cycle: string | null;
  /** Ends a pass as `overtake` does. */
  readonly signal: AbortSignal | null;
  /** Nothing is written, neither to the cluster nor to the database; the server says what it would answer. */
  readonly dryRun: boolean;
  readonly adopt: boolean;
  /** Whether a commit without any object may empty the cluster. */
  readonly allowEmpty: boolean;
}

/** What outlives a pass. */
export interface State extends ApplierOptions {
  readonly synced: Remembered;
  readonly lost: Set<string>;
  readonly contest: Contest;
  /** What would be made anew, and waits for the delete budget: which document, on which object, by `keyOf`. */
  readonly held: Map<string, string>;
  under: AbortController;
  /** Of drift that is only reported: what was told. */
  told: ReadonlyMap<string, string>;
  /** Whether what the database knows of the state that was left is in `synced`. */
  recalled: boolean;
  /** Of which what is remembered was gone through last. */
  tree: DesiredTree | null;
}

/** Texts of about so many are held at once; to read them takes no longer than it takes to send as many as there are lanes. */
const loadedAtOnce = 500;

/** Why an object was applied, and what it was then. Without its text: 50,000 texts are not held. */
export interface AppliedFor extends Pick<Extract<Action, { kind: 'apply' }>, 'live' | 'why'> {
  readonly ref: ObjectRef;
}

/** What one pass is about, and what it has done so far. */
export interface Work {
  readonly state: State;
  readonly tree: DesiredTree;
  readonly how: PassOptions;
  readonly rules: ApplyRules;
  readonly preparing: PrepareOptions;
  readonly allowance: Allowance;
  readonly applied: AppliedFor[];
  readonly outcomes: Outcome[];
  readonly drifts: DriftRecord[];
  requests: number;
  inSync: number;
}

export function startWork(state: State, tree: DesiredTree, how: PassOptions): Work {
  const { desired, objects, synced, lost, clock, store, inventory, prune } = state;
  return {
    state, tree, how,
    rules: { ...state.rules, adopt: how.adopt },
    preparing: { desired, objects, synced, lost, clock, dryRun: how.dryRun },
    allowance: openAllowance({ store, inventory, rules: prune, cycle: how.cycle }),
    applied: [], outcomes: [], drifts: [], requests: 0, inSync: 0,
  };
}

export async function applyAll(work: Work): Promise<void> {
  const { state, tree, rules } = work;
  const compared = compare(tree, { inventory: state.inventory, synced: state.synced, rules, now: state.clock.monotonic() });
  const looked = await lookAt(only(compared, 'look'), work.preparing, rules);
  const findings = await withinAllowance(patiently([...compared, ...looked], state.contest), work);
  work.inSync = only(findings, 'in-sync').length;
  await reportDrift(work, only(findings, 'skip'));
  await execute(work, batchesOf(work, findings));
}

/**
 * What others are made of first, what has a say in every later request last. In each stage, what is known to differ goes first: after
 * a start, everything else has to be compared, and that takes a while. A batch is made while the one before is sent.
 */
async function* batchesOf(work: Work, findings: readonly Finding[]): AsyncGenerator<readonly Action[], void> {
  yield only(findings, 'skip');
  for (const rank of [0, 1, 2]) {
    for (const some of chunks(ordered(only(findings, 'apply').filter(({ entry }) => rankOf(entry.ref) === rank)))) yield await prepared(work, some);
    for (const some of chunks(only(findings, 'verify').filter(({ entry }) => rankOf(entry.ref) === rank))) yield await verified(work, some);
  }
}

async function verified(work: Work, findings: readonly VerifyFinding[]): Promise<readonly Action[]> {
  const { state, rules } = work;
  if (state.under.signal.aborted) return [];
  const differing = await verify(findings, work.preparing);
  work.inSync += findings.length - differing.length;
  return rules.drift === 'correct' || rules.adopt ? prepared(work, differing.map(toPutBack)) : tellApart(work, differing);
}

function only<Kind extends Finding['kind']>(findings: readonly Finding[], kind: Kind): readonly Extract<Finding, { kind: Kind }>[] {
  return findings.filter((finding): finding is Extract<Finding, { kind: Kind }> => finding.kind === kind);
}

/** What somebody changes again and again is left for a while. */
function patiently(findings: readonly Finding[], contest: Contest): readonly Finding[] {
  return findings.map((finding) => {
    const why = finding.kind === 'apply' && finding.why === 'drifted' ? contest.objection(keyOf(finding.entry.ref)) : null;
    return why === null || finding.kind !== 'apply' ? finding : { kind: 'skip', ref: finding.entry.ref, reason: 'backing-off', detail: why };
  });
}

/** What can only be made anew is not asked for again while the delete budget has nothing left for it. */
async function withinAllowance(findings: readonly Finding[], { state: { held }, allowance }: Work): Promise<readonly Finding[]> {
  if (held.size === 0) return findings;
  let left = Math.max(0, await allowance.left());
  const spent = await allowance.spent();
  return findings.map((finding) => {
    if ((finding.kind !== 'apply' && finding.kind !== 'verify') || finding.live === null) return finding;
    const key = keyOf(finding.entry.ref);
    if (held.get(key) !== attemptOf(finding.entry, finding.live) || spent.has(key)) return finding;
    left -= 1;
    return left >= 0 ? finding : { kind: 'skip', ref: finding.entry.ref, reason: 'delete-budget', detail: heldBack };
  });
}

function attemptOf({ digest }: Pick<DesiredObject, 'digest'>, { uid }: LiveObject): string {
  return `${digest} ${uid}`;
}

/** The cluster shows the revision of this very document: what differs was changed since, or is how the server writes it, which the answer tells. */
function toPutBack({ entry, live }: VerifyFinding): ApplyFinding {
  return { kind: 'apply', entry, live, force: true, why: entry.revision === null ? 'changed' : 'drifted', migrate: false };
}

/** The server is asked what it would do: what nothing would change of is in sync; the rest somebody changed, which is to be told and left. */
async function tellApart(work: Work, findings: readonly VerifyFinding[]): Promise<readonly SkipFinding[]> {
  const { state: { synced, executor, desired, under, clock } } = work;
  if (findings.length === 0 || under.signal.aborted) return [];
  const documents = new Map((await desired.load(findings.map(({ entry }) => entry))).map((document) => [keyOf(document.ref), document]));
  const asked = findings.flatMap(({ entry, live }): readonly Action[] => {
    const document = documents.get(keyOf(entry.ref));
    return document === undefined ? [] : [{ kind: 'apply', desired: document, live, force: true, why: 'drifted' }];
  });
  const { outcomes, requests } = await executor.execute(asked, { signal: under.signal, assertLeading: leadingOf(work), dryRun: true, objection: () => null, recreate: () => null });
  work.requests += requests;
  const ended = new Map(outcomes.map((outcome) => [keyOf(outcome.ref), outcome]));
  const drifted: SkipFinding[] = [];
  for (const { entry, live } of findings) {
    const outcome = ended.get(keyOf(entry.ref));
    if (outcome === undefined) continue;
    if (outcome.kind !== 'unchanged' && outcome.kind !== 'configured') work.outcomes.push(outcome);
    else synced.set(keyOf(entry.ref), { ...inSyncNow(entry, live, clock), owned: outcome.live?.owned ?? null });
    if (outcome.kind === 'unchanged') work.inSync += 1;
    if (outcome.kind === 'configured') drifted.push({ kind: 'skip', ref: entry.ref, reason: 'drift-reported', detail: 'somebody changed fields of ours' });
  }
  await reportDrift(work, drifted);
  return drifted;
}

/** What processors need, such as their accounts, before them. */
function ordered(findings: readonly ApplyFinding[]): readonly ApplyFinding[] {
  return [...findings.filter(({ entry }) => entry.processorId === null), ...findings.filter(({ entry }) => entry.processorId !== null)];
}

function* chunks<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let from = 0; from < items.length; from += loadedAtOnce) yield items.slice(from, from + loadedAtOnce);
}

async function prepared(work: Work, findings: readonly ApplyFinding[]): Promise<readonly Action[]> {
  if (findings.length === 0 || work.state.under.signal.aborted) return [];
  // Whose fields become ours changes before they are applied.
  if (findings.some(({ migrate }) => migrate)) await leadingOf(work)();
  const { actions, drifts } = await prepare(findings, work.preparing);
  work.drifts.push(...drifts);
  return actions;
}

/** @returns how these ended */
export async function execute(work: Work, actions: Parameters<Executor['execute']>[0]): Promise<readonly Outcome[]> {
  const { state, tree, how, allowance } = work;
  const { inventory, executor, under } = state;
  const { outcomes, requests } = await executor.execute(actions, {
    signal: under.signal,
    assertLeading: leadingOf(work),
    dryRun: how.dryRun,
    // Once more, right before it is sent: another leader may have been faster.
    objection: (action) => (action.kind === 'apply' ? isBehind(tree, action.desired, inventory) : null),
    recreate: (object, live) => (isOwnPlacement(object, live) ? () => allowance.claim(live) : null),
    // As it comes: what was done is remembered also where the pass ends early.
    onOutcome: (action, outcome) => {
      if (action.kind !== 'apply') return;
      work.applied.push({ ref: action.desired.ref, live: action.live, why: action.why });
      if (!how.dryRun) remember(state, action, outcome);
    },
  });
  work.requests += requests;
  for (const outcome of outcomes) work.outcomes.push(outcome);
  return outcomes;
}

function isBehind(tree: DesiredTree, desired: DesiredObject, inventory: LiveInventory): ReturnType<Pass['objection']> {
  const later = laterEpoch(desired, inventory);
  if (later !== null) return { reason: 'higher-epoch', detail: later };
  const [entry, live] = [tree.objects.get(keyOf(desired.ref)), inventory.objects.get(keyOf(desired.ref))];
  const newer = entry === undefined || live === undefined ? null : newerRevision(tree, entry, live);
  return newer === null ? null : { reason: 'newer-revision', detail: newer };
}

/** Who changes nothing need not lead. */
function leadingOf({ state: { assertLeading }, how }: Work): () => Promise<void> {
  return how.dryRun ? () => Promise.resolve() : assertLeading;
}

/** What our fields amount to now, as the server answered. */
function remember({ synced, lost, contest, held, clock }: State, { desired, live, why }: Extract<Action, { kind: 'apply' }>, outcome: Outcome): void {
  const key = keyOf(desired.ref);
  held.delete(key);
  if (live !== null && outcome.kind === 'skipped' && outcome.reason === 'delete-budget') held.set(key, attemptOf(desired, live));
  // To be created anew when its pods are gone: nobody else deleted it.
  if (outcome.kind === 'skipped' && outcome.reason === 'terminating') synced.delete(key);
  if (!('live' in outcome) || outcome.live === null) return;
  synced.set(key, inSyncNow(desired, outcome.live, clock));
  lost.delete(key);
  if (why === 'drifted' && outcome.kind === 'configured') contest.putBack(key);
}

/** Drift that is left alone is told once for each state that it is seen in. */
async function reportDrift({ state, tree, drifts, preparing, how }: Work, skips: readonly Extract<Action, { kind: 'skip' }>[]): Promise<void> {
  if (how.dryRun) return;
  const ownedNow = (key: string): string => state.inventory.objects.get(key)?.owned ?? '';
  const untold = skips.flatMap(({ ref, reason }) => {
    const entry = reason === 'drift-reported' ? tree.objects.get(keyOf(ref)) : undefined;
    return entry === undefined || state.told.get(keyOf(ref)) === ownedNow(keyOf(ref)) ? [] : [entry];
  });
  if (untold.length === 0) return;
  const found = await report(untold, preparing);
  drifts.push(...found);
  state.told = new Map([...state.told, ...found.map(({ ref }) => [keyOf(ref), ownedNow(keyOf(ref))] as const)]);
}
