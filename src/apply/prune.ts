import { Failure } from '../model/failure.ts';
import type { Action } from './actions.ts';
import { pruneActions, removedProcessors, reservedFor, type SkipFinding } from './compare.ts';
import { readLive } from './live.ts';
import { keyOf, type DesiredTree, type LiveObject } from './objects.ts';
import { execute, type Work } from './pass.ts';
import { inLanes } from './prepare.ts';
import { isOfSystem, type SystemObject } from './system-objects.ts';

/** What the commit does not have any more, of what our label shows. */
export async function pruneAll(work: Work): Promise<void> {
  const { state: { inventory, store, synced, under }, tree, how, allowance } = work;
  if (under.signal.aborted || [...inventory.objects.keys()].every((key) => tree.objects.has(key))) return;
  const removed = removedProcessors(tree, inventory);
  const known = removed.length === 0 ? new Set<string>() : await store.known(removed);
  const [spent, budget] = [new Set(await allowance.spent()), await allowance.left()];
  const actions = pruneActions(tree, inventory, { budget, spent, known, adopt: how.adopt, allowEmpty: how.allowEmpty });
  if (!how.dryRun) {
    const pruned = livesOf(actions);
    const wanted = new Set([...tree.objects.values()].map(({ processorId }) => processorId));
    await allowance.spend(pruned.filter(({ ref, processorId }) => !spent.has(keyOf(ref)) && (processorId === null || !wanted.has(processorId))));
    // Before it is sent: the watch may show its end before the answer is here, and nobody else deleted it.
    for (const { ref } of pruned) synced.delete(keyOf(ref));
  }
  await execute(work, actions);
}

function livesOf(actions: readonly Action[]): readonly LiveObject[] {
  return actions.flatMap((action) => (action.kind === 'prune' ? [action.live] : []));
}

/**
 * Of the system's own manifests: after everything else, those that were applied last first. Each is read before, so that what is there
 * is known, and whose it is.
 */
export async function pruneSystem(work: Work): Promise<void> {
  const { state: { system, inventory, under }, tree, how, allowance } = work;
  if (system === null || under.signal.aborted) return;
  const dropped = (await system.all()).filter(({ key }) => !tree.objects.has(key) && !inventory.objects.has(key));
  if (dropped.length === 0) return;
  const seen = await inLanes(dropped, (each) => look(each, work));
  const left = seen.flatMap((each) => (each.kind === 'ours' ? [each] : []));
  const unseen = seen.flatMap((each) => (each.kind === 'unknown' ? [each.skip] : []));
  const spent = new Set(await allowance.spent());
  const actions = pruneSystemActions(tree, left, { budget: await allowance.left(), spent, adopt: how.adopt, allowEmpty: how.allowEmpty });
  if (!how.dryRun) {
    await system.drop(seen.flatMap((each) => (each.kind === 'over' ? [each.dropped.key] : [])));
    await allowance.spend(livesOf(actions).filter(({ ref }) => !spent.has(keyOf(ref))));
  }
  const outcomes = await execute(work, [...unseen, ...actions]);
  if (!how.dryRun) await system.drop(outcomes.flatMap(({ kind, ref }) => (kind === 'pruned' ? [keyOf(ref)] : [])));
}

type Seen =
  | ({ readonly kind: 'ours' } & LeftOfSystem)
  /** It is gone; or nothing of it is ours any more, because somebody took it over, or made it anew. */
  | { readonly kind: 'over'; readonly dropped: SystemObject }
  | { readonly kind: 'unknown'; readonly skip: SkipFinding };

async function look(dropped: SystemObject, work: Work): Promise<Seen> {
  const { state: { objects }, how } = work;
  try {
    const object = await objects.read(dropped.ref);
    const live = object === null ? null : readLive(object, dropped.ref);
    const isOurs = live !== null && (live.owned !== null || (how.adopt && live.trackedBy !== null));
    return isOurs ? { kind: 'ours', dropped, live, inUse: await isInUse(live, work) } : { kind: 'over', dropped };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { kind: 'unknown', skip: { kind: 'skip', ref: dropped.ref, reason: 'partial-knowledge', detail: error.message } };
  }
}

/** What processors write their state with: without it, one that is ending loses what it has not written yet. */
const access: ReadonlySet<string> = new Set(['ServiceAccount', 'Role', 'RoleBinding']);

async function isInUse({ ref: { kind, namespace } }: LiveObject, { state: { objects, inventory } }: Work): Promise<boolean> {
  if (namespace === null || !access.has(kind)) return false;
  if ([...inventory.objects.values()].some(({ processorId, ref }) => processorId !== null && ref.namespace === namespace)) return true;
  return objects.hasAny({ apiVersion: 'v1', kind: 'Pod' }, namespace, 'managed-by=dory-orchestrator');
}

export interface LeftOfSystem {
  readonly dropped: Pick<SystemObject, 'key' | 'path'>;
  readonly live: LiveObject;
  /** Pods of processors are left that may need it. */
  readonly inUse: boolean;
}

interface SystemRules {
  /** Objects that may be deleted now. */
  readonly budget: number;
  /** Deletions that are in the budget already, by `keyOf`. */
  readonly spent: ReadonlySet<string>;
  readonly adopt: boolean;
  readonly allowEmpty: boolean;
}

/** Of objects of the system that the commit has no more and that are there, in this order. Pure. */
export function pruneSystemActions(tree: DesiredTree, left: readonly LeftOfSystem[], rules: SystemRules): readonly Action[] {
  const entries = [...tree.objects.values()].filter(isOfSystem);
  const facts = { isEmpty: entries.length === 0, isWhole: entries.some(({ path }) => path.endsWith('/orchestrator.yaml')) };
  let { budget } = rules;
  return left.map((each): Action => {
    const { live, dropped } = each;
    const refused = refuse(each, facts, rules);
    if (refused !== null) return { kind: 'skip', ref: live.ref, ...refused };
    if (!rules.spent.has(dropped.key)) budget -= 1;
    if (budget >= 0 || rules.spent.has(dropped.key)) return { kind: 'prune', live };
    return { kind: 'skip', ref: live.ref, reason: 'delete-budget', detail: 'more would be deleted at once than apply may delete' };
  });
}

function refuse({ dropped: { path }, live, inUse }: LeftOfSystem, { isEmpty, isWhole }: { readonly isEmpty: boolean; readonly isWhole: boolean }, { adopt, allowEmpty }: SystemRules): Pick<SkipFinding, 'reason' | 'detail'> | null {
  if (live.trackedBy !== null && !adopt) return { reason: 'tracked-by-argocd', detail: `the Application ${live.trackedBy} of Argo CD tracks it` };
  if (live.terminating) return { reason: 'terminating', detail: 'it is being deleted' };
  if (isEmpty && !allowEmpty) return { reason: 'delete-budget', detail: 'the commit has no object of the system at all: dory apply --allow-empty deletes what is left' };
  // Settings that are incomplete for a while take the whole system out of the commit.
  if (!isWhole && !path.includes('/system/processor-access-')) return { reason: 'kept', detail: 'the commit has the system itself no more, as with settings that are not complete' };
  if (inUse) return { reason: 'in-use', detail: 'pods of processors are left in its namespace, and may need it' };
  return reservedFor(live.ref);
}
