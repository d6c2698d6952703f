import { Failure } from '../model/failure.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { Action } from './actions.ts';
import type { DriftRecord } from './applied.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { compareRead, isTakenOver, type ApplyFinding, type ApplyRules, type Finding, type SkipFinding, type Synced, type VerifyFinding } from './compare.ts';
import type { DesiredReader } from './desired.ts';
import { driftOf } from './drift.ts';
import { appliedValues, ownedDigest } from './fields.ts';
import { handOver } from './hand-over.ts';
import { fieldManager, readLive } from './live.ts';
import { keyOf, type DesiredEntry, type DesiredObject, type LiveObject } from './objects.ts';
import { parseManifest } from './plain-yaml.ts';

/** From findings to what is sent: texts are read, and what a comparison can't know is looked up. */
export interface PrepareOptions {
  readonly desired: Pick<DesiredReader, 'load'>;
  readonly objects: Pick<ClusterObjects, 'read' | 'patch'>;
  readonly synced: Map<string, Synced>;
  /** Objects that were in sync, and that somebody deleted. */
  readonly lost: ReadonlySet<string>;
  readonly dryRun: boolean;
  readonly clock: Clock;
}

/**
 * Compares committed values with those of our fields.
 * @returns those that differ, be it only in how the server writes a value, which nobody but the server can tell
 */
export async function verify(findings: readonly VerifyFinding[], { desired, synced, clock }: Pick<PrepareOptions, 'desired' | 'synced' | 'clock'>): Promise<readonly VerifyFinding[]> {
  const documents = await desired.load(findings.map(({ entry }) => entry));
  return findings.filter(({ entry, live }, n) => {
    const values = appliedValues(parseManifest(documents[n]?.yaml ?? '', entry.path));
    if (ownedDigest(values) !== live.owned) return true;
    synced.set(keyOf(entry.ref), inSyncNow(entry, live, clock));
    return false;
  });
}

/** As it is on the cluster is as it should be. */
export function inSyncNow({ digest }: Pick<DesiredEntry, 'digest'>, { owned, resourceVersion }: LiveObject, clock: Clock): Synced {
  return { desired: digest, owned, resourceVersion: Number(resourceVersion), at: clock.monotonic() };
}

/** What no watch shows is read, and compared then. One that can't be read holds up no other. */
export function lookAt(findings: readonly Extract<Finding, { kind: 'look' }>[], { objects, synced, clock }: PrepareOptions, rules: ApplyRules): Promise<readonly Exclude<Finding, { kind: 'look' }>[]> {
  const look = async ({ entry }: { readonly entry: DesiredEntry }): Promise<Exclude<Finding, { kind: 'look' }>> => {
    const object = await objects.read(entry.ref);
    const live = object === null ? null : readLive(object, entry.ref);
    const finding = compareRead(entry, live, { synced, rules });
    if (finding.kind === 'in-sync' && live !== null) synced.set(keyOf(entry.ref), inSyncNow(entry, live, clock));
    return finding;
  };
  return inLanes(findings, (finding) => look(finding).catch((error: unknown) => skipFor(finding.entry, error)));
}

/** @throws what is no `Failure` */
function skipFor({ ref }: Pick<DesiredEntry, 'ref'>, error: unknown): SkipFinding {
  if (!(error instanceof Failure)) throw error;
  return { kind: 'skip', ref, reason: 'partial-knowledge', detail: error.message };
}

export interface Prepared {
  readonly actions: readonly Action[];
  readonly drifts: readonly DriftRecord[];
}

/** So many objects are looked at at once. */
const lookedAtOnce = 16;
/** A storm of changes is corrected faster than it is told: beyond so many, no more is said of each than that it drifted. */
const toldOfAPass = 200;

export async function prepare(findings: readonly ApplyFinding[], options: PrepareOptions): Promise<Prepared> {
  const documents = await options.desired.load(findings.map(({ entry }) => entry));
  const items = findings.map((finding, n) => ({ finding, desired: documents[n] ?? missing(finding.entry) }));
  const drifts: DriftRecord[] = [];
  // One that can't be looked at holds up no other.
  const actions = await inLanes(items, ({ finding, desired }) => toAction(finding, desired, drifts, options).catch((error: unknown): Action => skipFor(desired, error)));
  return { actions, drifts };
}

async function toAction({ live, why, force, ...finding }: ApplyFinding, desired: DesiredObject, drifts: DriftRecord[], options: PrepareOptions): Promise<Action> {
  const { ref, processorId } = desired;
  if (finding.migrate && !(await migrate({ ...finding, live }, options))) return { kind: 'skip', ref, reason: 'not-ours', detail: 'it changed while it was taken over' };
  const unsaid = { ref, processorId, action: 'corrected', fields: [], who: [] } as const;
  if (why === 'missing' && options.lost.has(keyOf(ref))) drifts.push({ ...unsaid, deleted: true });
  if (why === 'drifted') drifts.push(...(drifts.length < toldOfAPass ? await diagnose(desired, processorId, 'corrected', options) : [{ ...unsaid, deleted: false }]));
  return { kind: 'apply', desired, live, force, why };
}

function missing({ path }: DesiredEntry): never {
  throw new Failure('git-corrupt', `${path} can't be read from the clone.`);
}

/** Fields of who applied it before become ours, so that what our document lacks goes, and nobody else holds on to it. */
async function migrate({ entry, live }: Pick<ApplyFinding, 'entry' | 'live'>, { objects, dryRun }: PrepareOptions): Promise<boolean> {
  if (dryRun || live === null) return true;
  const object = await objects.read(live.ref);
  if (object?.metadata.uid !== live.uid) return false;
  const patch = handOver(object, isTakenOver, { manager: fieldManager, apiVersion: entry.ref.apiVersion });
  return patch === null || objects.patch(live.ref, patch);
}

/** Of drift that is left alone: who changed what. Of an object that can't be read nothing is said, until it can. */
export async function report(entries: readonly DesiredEntry[], options: PrepareOptions): Promise<readonly DriftRecord[]> {
  const documents = await options.desired.load(entries);
  const found = await inLanes(documents.slice(0, toldOfAPass), (desired) => diagnose(desired, desired.processorId, 'reported', options).catch((error: unknown) => {
    if (!(error instanceof Failure)) throw error;
    return [];
  }));
  const more = documents.slice(toldOfAPass).map(({ ref, processorId }): DriftRecord => ({ ref, processorId, deleted: false, action: 'reported', fields: [], who: [] }));
  return [...found.flat(), ...more];
}

/** Who changed what: one question for each object that drifted. */
async function diagnose(desired: DesiredObject, processorId: ProcessorId | null, action: DriftRecord['action'], { objects }: PrepareOptions): Promise<readonly DriftRecord[]> {
  const object = await objects.read(desired.ref);
  if (object === null) return [];
  const drift = driftOf(parseManifest(desired.yaml, desired.path), object);
  // It was put back meanwhile.
  return drift.fields.length === 0 ? [] : [{ ref: desired.ref, processorId, deleted: false, action, ...drift }];
}

/** In the order given, a few at once. */
export async function inLanes<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const lane = async (): Promise<void> => {
    for (const [n, item] of queue) results[n] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(lookedAtOnce, items.length) }, lane));
  return results;
}
