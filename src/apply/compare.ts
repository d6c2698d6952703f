import { byText, type Digest, type ProcessorId } from '../model/ids.ts';
import { seconds, type Millis } from '../model/time.ts';
import type { Action, ApplyReason, SkipReason } from './actions.ts';
import { argoManager } from './live.ts';
import { keyOf, type DesiredEntry, type DesiredTree, type LiveObject } from './objects.ts';

/** An object as it was in sync: our fields, right after this document was applied or found to be applied. */
export interface Synced {
  /** Of the committed document. */
  readonly desired: Digest;
  /** Of the values of our fields. */
  readonly owned: Digest | null;
  /** What the watch shows of an older version is of before. */
  readonly resourceVersion: number;
  /** On the monotonic clock. */
  readonly at: Millis;
}

/** What is known of the cluster. */
export interface Inventory {
  /** Everything that carries our label, by `keyOf`. */
  readonly objects: ReadonlyMap<string, LiveObject>;
  /** Whether all that there is of a kind is known now; `absent`: the cluster has no such kind. */
  knows(kind: KindRef): 'all' | 'not-all' | 'absent';
  /** Over everything that the cluster shows of a processor; 0 if nothing. */
  highestEpoch(processorId: ProcessorId): number;
}

export type KindRef = Pick<DesiredEntry['ref'], 'apiVersion' | 'kind'>;

export interface ApplyRules {
  /** Whether what somebody changed of our fields is put back, over whoever owns it now. */
  readonly drift: 'correct' | 'report';
  /** Take over what others own, even what Argo CD still tracks. */
  readonly adopt: boolean;
}

/** What is to be done about one committed object. The texts are not read yet: of most objects none is needed. */
export type Finding =
  | { readonly kind: 'in-sync' }
  /** `migrate`: fields of other managers become ours. */
  | { readonly kind: 'apply'; readonly entry: DesiredEntry; readonly live: LiveObject | null; readonly force: boolean; readonly why: ApplyReason; readonly migrate: boolean }
  /** No processor's, and no watch shows it: the system's own objects don't carry the label by which members are found. */
  | { readonly kind: 'look'; readonly entry: DesiredEntry }
  /** Nothing is remembered of it: the values of the document have to be compared with those of our fields. */
  | { readonly kind: 'verify'; readonly entry: DesiredEntry; readonly live: LiveObject }
  | Extract<Action, { kind: 'skip' }>;

export type ApplyFinding = Extract<Finding, { kind: 'apply' }>;
export type VerifyFinding = Extract<Finding, { kind: 'verify' }>;
export type SkipFinding = Extract<Finding, { kind: 'skip' }>;

/** Who applied before, and gives way as with `kubectl apply --server-side` and Flux: its fields become ours. */
const givesWay: ReadonlySet<string> = new Set(['kubectl', 'kubectl-client-side-apply', 'kubectl-create', 'kubectl-replace', 'before-first-apply']);

export interface ComparedWith {
  readonly inventory: Inventory;
  readonly synced: ReadonlyMap<string, Synced>;
  readonly rules: ApplyRules;
  /** On the monotonic clock. */
  readonly now: Millis;
}

/** What was written, and what no watch has shown for so long, was deleted before one could. */
const shownWithin = seconds(20);
/** What no watch shows is read so often. */
const lookEvery = seconds(300);

/** Of each committed object, in the order of the tree. Pure. */
export function compare(tree: DesiredTree, facts: ComparedWith): readonly Finding[] {
  return [...tree.objects].map(([key, entry]) => {
    const later = laterEpoch(entry, facts.inventory);
    if (later !== null) return skip(entry, 'higher-epoch', later);
    const live = facts.inventory.objects.get(key) ?? null;
    const synced = facts.synced.get(key) ?? null;
    return live === null ? compareMissing(entry, synced, facts) : notBehind(tree, entry, live, compareLive(entry, live, synced, facts.rules));
  });
}

/** Why a placement is not applied: the cluster shows a later one of its processor. Null: it shows none. */
export function laterEpoch({ processorId, epoch }: Pick<DesiredEntry, 'processorId' | 'epoch'>, inventory: Pick<Inventory, 'highestEpoch'>): string | null {
  const seen = processorId === null ? 0 : inventory.highestEpoch(processorId);
  return epoch !== null && seen > epoch ? `the cluster shows epoch ${String(seen)}, this commit has ${String(epoch)}` : null;
}

/**
 * Why what this commit has of an object is not sent: a commit that we don't see has been there. Null: it may be. A commit that takes
 * another one back is newer than that; the branch set back, or a clone that is behind, is not.
 */
export function newerRevision(tree: Pick<DesiredTree, 'revision'>, entry: Pick<DesiredEntry, 'revision'>, live: Pick<LiveObject, 'revision'>): string | null {
  if (entry.revision === null || live.revision === null || live.revision <= Math.max(tree.revision, entry.revision)) return null;
  return `revision ${String(live.revision)} left it so, and this commit is revision ${String(tree.revision)}`;
}

function notBehind(tree: DesiredTree, entry: DesiredEntry, live: LiveObject, found: Finding): Finding {
  const newer = found.kind === 'apply' || found.kind === 'verify' ? newerRevision(tree, entry, live) : null;
  return newer === null ? found : skip(entry, 'newer-revision', newer);
}

function compareMissing(entry: DesiredEntry, synced: Synced | null, { inventory, now }: ComparedWith): Finding {
  const known = inventory.knows(entry.ref);
  if (known === 'not-all') return skip(entry, 'partial-knowledge', `what there is of ${entry.ref.kind} is not known now`);
  // Written, and not yet shown by the watch; its deletion would make this be forgotten.
  if (synced?.desired === entry.digest && now - synced.at < (entry.processorId === null ? lookEvery : shownWithin)) return { kind: 'in-sync' };
  // The names of processors' objects hold a hash of their id: nobody else has them, and if so, fields conflict.
  return entry.processorId === null && known === 'all' ? { kind: 'look', entry } : missing(entry);
}

/** Nothing is there, so nothing is taken from anybody: if something came meanwhile, fields conflict. */
function missing(entry: DesiredEntry): ApplyFinding {
  return { kind: 'apply', entry, live: null, force: false, why: 'missing', migrate: false };
}

/** Of an object that was read because no watch shows it. @param live null: there is none */
export function compareRead(entry: DesiredEntry, live: LiveObject | null, { synced, rules }: Pick<ComparedWith, 'synced' | 'rules'>): Exclude<Finding, { kind: 'look' }> {
  if (live === null) return missing(entry);
  const before = synced.get(keyOf(entry.ref)) ?? null;
  if (live.owned === null && before === null && !rules.adopt) return skip(entry, 'not-ours', 'an object of this name is there, and nothing of it is ours');
  return compareLive(entry, live, before, rules);
}

function compareLive(entry: DesiredEntry, live: LiveObject, synced: Synced | null, rules: ApplyRules): Exclude<Finding, { kind: 'look' }> {
  if (live.terminating) return skip(entry, 'terminating', 'it is being deleted');
  if (live.trackedBy !== null && !rules.adopt) return skip(entry, 'tracked-by-argocd', `the Application ${live.trackedBy} of Argo CD tracks it`);
  // Of what was ours a moment ago somebody may have changed each field: that is drift.
  if (live.owned === null && synced === null) return adopt(entry, live, rules);
  const force = rules.drift === 'correct' || rules.adopt;
  const changed: ApplyFinding = { kind: 'apply', entry, live, force, why: 'changed', migrate: rules.adopt && live.trackedBy !== null };
  if (synced === null) return entry.revision === live.revision && !changed.migrate ? { kind: 'verify', entry, live } : changed;
  if (synced.desired !== entry.digest) return changed;
  if (synced.owned === live.owned || Number(live.resourceVersion) < synced.resourceVersion) return { kind: 'in-sync' };
  if (!force) return skip(entry, 'drift-reported', 'somebody changed fields of ours');
  return { ...changed, why: 'drifted' };
}

/** It carries our label, and no field of it is ours: somebody else applied it. */
function adopt(entry: DesiredEntry, live: LiveObject, rules: ApplyRules): ApplyFinding | SkipFinding {
  const strangers = live.managers.filter((manager) => !givesWay.has(manager) && !writesStatusOnly.test(manager));
  if (strangers.length > 0 && !rules.adopt) return skip(entry, 'not-ours', `${strangers.join(', ')} applied it`);
  return { kind: 'apply', entry, live, force: true, why: 'adopted', migrate: true };
}

/** Controllers of the cluster itself own fields of every object. */
const writesStatusOnly = /^(?:kube-controller-manager|kubelet|kube-scheduler|kube-apiserver|kwok)/;

/** Managers whose fields become ours when an object is taken over. */
export function isTakenOver(manager: string): boolean {
  return givesWay.has(manager) || manager === argoManager;
}

function skip({ ref }: DesiredEntry, reason: SkipReason, detail: string): SkipFinding {
  return { kind: 'skip', ref, reason, detail };
}

function newerThan({ revision }: DesiredTree, live: LiveObject, epoch: number | null): { readonly reason: SkipReason; readonly detail: string } | null {
  if (epoch !== null && (live.epoch ?? 0) > epoch) return { reason: 'higher-epoch', detail: `it is of epoch ${String(live.epoch)}, this commit has ${String(epoch)}` };
  if ((live.revision ?? 0) <= revision) return null;
  return { reason: 'newer-revision', detail: `revision ${String(live.revision)} put it there, and this commit is revision ${String(revision)}` };
}

export interface PruneRules {
  /** Objects that may be deleted now, beside those that a later epoch replaces. */
  readonly budget: number;
  /** Deletions that are in the budget already, by `keyOf`: to try one again costs nothing. */
  readonly spent: ReadonlySet<string>;
  readonly adopt: boolean;
  /** Whether a tree without any object, or without any processor, may empty the cluster of them. */
  readonly allowEmpty: boolean;
  /** Of `removedProcessors`, those that our database knows. */
  readonly known: ReadonlySet<string>;
}

/** Processors that the cluster shows, and the commit does not. Another installation's carry the same label. */
export function removedProcessors(tree: DesiredTree, inventory: Pick<Inventory, 'objects'>): readonly ProcessorId[] {
  const wanted = new Set([...tree.objects.values()].map(({ processorId }) => processorId));
  return [...new Set([...inventory.objects.values()].flatMap(({ processorId }) => (processorId === null || wanted.has(processorId) ? [] : [processorId])))];
}

/**
 * What the commit does not have any more. Never on partial knowledge, and never everything. What a later epoch of the same
 * processor replaces, as every move leaves behind, is no loss and counts against no budget. Pure.
 */
export function pruneActions(tree: DesiredTree, inventory: Inventory, rules: PruneRules): readonly Action[] {
  const epochs = new Map([...tree.objects.values()].flatMap(({ processorId, epoch }) => (processorId === null ? [] : [[processorId, epoch ?? 0] as const])));
  const leftovers = [...inventory.objects].filter(([key, live]) => !tree.objects.has(key) && isOurs(live, rules)).sort(([a], [b]) => byText(a, b));
  let budget = rules.budget;
  return leftovers.map(([key, live]): Action => {
    const epoch = live.processorId === null ? null : (epochs.get(live.processorId) ?? null);
    const refused = reservedFor(live.ref) ?? refusePrune(live, epoch, { processors: epochs.size, tree, inventory, rules });
    if (refused !== null) return { kind: 'skip', ref: live.ref, ...refused };
    if (epoch !== null || rules.spent.has(key)) return { kind: 'prune', live };
    budget -= 1;
    if (budget >= 0) return { kind: 'prune', live };
    return { kind: 'skip', ref: live.ref, reason: 'delete-budget', detail: 'more would be deleted at once than apply may delete' };
  });
}

/** With what everybody's objects of it, whole namespaces, data or nodes go. */
const neverPruned: ReadonlySet<string> = new Set(['CustomResourceDefinition', 'Namespace', 'PersistentVolume', 'PersistentVolumeClaim', 'NodePool', 'EC2NodeClass']);

/** Null: its kind may be pruned. */
export function reservedFor({ kind }: KindRef): { readonly reason: SkipReason; readonly detail: string } | null {
  return neverPruned.has(kind) ? { reason: 'kept', detail: `the commit has it no more; what depends on a ${kind} would go with it` } : null;
}

/** Others label theirs as ours, as the running system does its pods: what we never applied is not ours to delete. */
function isOurs({ owned, terminating, trackedBy }: LiveObject, { adopt }: PruneRules): boolean {
  return !terminating && (owned !== null || (adopt && trackedBy !== null));
}

/** @param epoch what the commit has of its processor; null: nothing */
function refusePrune(live: LiveObject, epoch: number | null, { processors, tree, inventory, rules }: { readonly processors: number; readonly tree: DesiredTree; readonly inventory: Inventory; readonly rules: PruneRules }): { readonly reason: SkipReason; readonly detail: string } | null {
  if (live.trackedBy !== null && !rules.adopt) return { reason: 'tracked-by-argocd', detail: `the Application ${live.trackedBy} of Argo CD tracks it` };
  const lacks = tree.objects.size === 0 ? 'object' : live.processorId !== null && processors === 0 ? 'processor' : null;
  if (lacks !== null && !rules.allowEmpty) return { reason: 'delete-budget', detail: `the commit has no ${lacks} at all: dory apply --allow-empty deletes what is left` };
  if (epoch === null && live.processorId !== null && !rules.known.has(live.processorId)) return { reason: 'not-ours', detail: 'our database never had its processor' };
  if (inventory.knows(live.ref) !== 'all') return { reason: 'partial-knowledge', detail: `what there is of ${live.ref.kind} is not known now` };
  return newerThan(tree, live, epoch);
}
