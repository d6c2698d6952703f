import { Failure } from '../model/failure.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Clock } from '../platform/clock.ts';
import type { Action } from './actions.ts';
import type { DriftRecord } from './applied.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import { isTakenOver, type Finding, type Synced } from './compare.ts';
import type { DesiredReader } from './desired.ts';
import { driftOf } from './drift.ts';
import { appliedValues, ownedDigest } from './fields.ts';
import { handOver } from './hand-over.ts';
import { fieldManager } from './live.ts';
import { keyOf, type DesiredEntry, type DesiredObject } from './objects.ts';
import { parseManifest } from './plain-yaml.ts';

/** From findings to what is sent: texts are read, and what a comparison can't know is looked up. */
export interface PrepareOptions {
  readonly desired: Pick<DesiredReader, 'load'>;
  readonly objects: Pick<ClusterObjects, 'read' | 'patch'>;
  readonly synced: Map<string, Synced>;
  /** Objects that were in sync, and that somebody deleted. */
  readonly lost: Set<string>;
  readonly dryRun: boolean;
  readonly clock: Clock;
}

type ApplyFinding = Extract<Finding, { kind: 'apply' }>;
type VerifyFinding = Extract<Finding, { kind: 'verify' }>;

/** Compares committed values with those of our fields. What can't be told apart (the server writes some values in its own way) is applied once. */
export async function verify(findings: readonly VerifyFinding[], { desired, synced, clock }: PrepareOptions, force: boolean): Promise<readonly ApplyFinding[]> {
  const documents = await desired.load(findings.map(({ entry }) => entry));
  return findings.flatMap(({ entry, live }, n): readonly ApplyFinding[] => {
    const values = appliedValues(parseManifest(documents[n]?.yaml ?? '', entry.path));
    if (ownedDigest(values) !== live.owned) return [{ kind: 'apply', entry, live, force, why: 'changed', probe: false, migrate: false }];
    synced.set(keyOf(entry.ref), { desired: entry.digest, owned: live.owned, resourceVersion: Number(live.resourceVersion), at: clock.monotonic() });
    return [];
  });
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
  const actions = await inLanes(items, ({ finding, desired }) => toAction(finding, desired, drifts, options).catch((error: unknown): Action => {
    if (!(error instanceof Failure)) throw error;
    // One that can't be looked at holds up no other.
    return { kind: 'skip', ref: desired.ref, reason: 'partial-knowledge', detail: error.message };
  }));
  return { actions, drifts };
}

async function toAction({ live, why, force, probe, ...finding }: ApplyFinding, desired: DesiredObject, drifts: DriftRecord[], options: PrepareOptions): Promise<Action> {
  const { ref, processorId } = desired;
  const skip = (detail: string): Action => ({ kind: 'skip', ref, reason: 'not-ours', detail });
  if (probe && (await isThere(desired, options))) return skip('an object of this name is there without our label');
  if (finding.migrate && !(await migrate({ ...finding, live }, options))) return skip('it changed while it was taken over');
  if (why === 'missing' && options.lost.delete(keyOf(ref))) drifts.push({ ref, processorId, deleted: true, action: 'corrected', fields: [], who: [] });
  if (why === 'drifted' && drifts.length < toldOfAPass) drifts.push(...(await diagnose(desired, processorId, 'corrected', options)));
  return { kind: 'apply', desired, live, force, why };
}

function missing({ path }: DesiredEntry): never {
  throw new Failure('git-corrupt', `${path} can't be read from the clone.`);
}

async function isThere({ ref }: DesiredObject, { objects }: PrepareOptions): Promise<boolean> {
  return (await objects.read(ref)) !== null;
}

/** Fields of who applied it before become ours, so that what our document lacks goes, and nobody else holds on to it. */
async function migrate({ entry, live }: Pick<ApplyFinding, 'entry' | 'live'>, { objects, dryRun }: PrepareOptions): Promise<boolean> {
  if (dryRun || live === null) return true;
  const object = await objects.read(live.ref);
  if (object?.metadata.uid !== live.uid) return false;
  const patch = handOver(object, isTakenOver, { manager: fieldManager, apiVersion: entry.ref.apiVersion });
  return patch === null || objects.patch(live.ref, patch);
}

/** Who changed what: one question for each object that drifted. */
export async function diagnose(desired: DesiredObject, processorId: ProcessorId | null, action: DriftRecord['action'], { objects }: PrepareOptions): Promise<readonly DriftRecord[]> {
  const object = await objects.read(desired.ref);
  if (object === null) return [];
  const drift = driftOf(parseManifest(desired.yaml, desired.path), object);
  // It was put back meanwhile.
  return drift.fields.length === 0 ? [] : [{ ref: desired.ref, processorId, deleted: false, action, ...drift }];
}

/** In the order given, a few at once. */
async function inLanes<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const lane = async (): Promise<void> => {
    for (const [n, item] of queue) results[n] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(lookedAtOnce, items.length) }, lane));
  return results;
}
