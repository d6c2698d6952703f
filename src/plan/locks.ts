import type { NodeId } from '../model/ids.ts';
import type { Change } from '../model/plan.ts';
import type { ReasonCode } from '../model/reasons.ts';
import type { MaintenanceLock, Snapshot } from '../model/snapshot.ts';
import { formatInstant, type Instant } from '../model/time.ts';
import type { Restraint, Scene } from './restraint.ts';
import type { World } from './world.ts';

/** When it ended, by a person's word or by running out; null while it holds. */
export function endOf(lock: MaintenanceLock, at: Instant): Instant | null {
  return lock.endedAt ?? (lock.until <= at ? lock.until : null);
}

/** The lock that keeps automation off a node; null if none holds. */
export function lockOfNode({ locks, at }: Pick<Snapshot, 'locks' | 'at'>, nodeId: NodeId): MaintenanceLock | null {
  return locks.find((lock) => lock.scope === 'node' && lock.subject === nodeId && endOf(lock, at) === null) ?? null;
}

/** Why a processor stops where it is in order to run at home. */
const homeward: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['node-recovered', 'home-changed']);

/**
 * The locks, ended ones too, on what a change touches: its processor, its template, the nodes that it leaves and goes to,
 * and the home that it stops for. Of a processor whose row is gone the template is not known.
 */
export function locksOn({ world, specs }: Scene, { processorId, kind, reason, before, after }: Change): readonly MaintenanceLock[] {
  const { locks } = world.snapshot;
  if (locks.length === 0) return locks;
  const spec = specs.get(processorId);
  const template = spec === undefined ? null : world.workloadOf(spec).templateId;
  const nodes = [before?.target, after?.target].flatMap((target) => (target?.kind === 'edge' ? [target.nodeId] : []));
  if (kind === 'stop' && homeward.has(reason) && spec?.home.kind === 'edge') nodes.push(spec.home.nodeId);
  return locks.filter(({ scope, subject }) => {
    switch (scope) {
      case 'processor': return subject === processorId;
      case 'template': return subject === template;
      case 'node': return nodes.some((id) => id === subject);
    }
  });
}

/** A rule of the gate: what is locked is left alone. */
export function locked(scene: Scene, change: Change): Restraint | null {
  const { at } = scene.world.snapshot;
  const lock = locksOn(scene, change).find((each) => endOf(each, at) === null);
  if (lock === undefined) return null;
  const evidence = { lock: lockName(scene.world, lock), owner: lock.owner, until: formatInstant(lock.until), why: lock.reason };
  return { reason: 'locked', evidence, needsPerson: false, wakeAt: lock.until };
}

/** As a person writes it: `node/edge-1`. */
function lockName({ snapshot, health }: World, { scope, subject }: MaintenanceLock): string {
  switch (scope) {
    case 'node': return `node/${health.get(subject as NodeId)?.node.name ?? subject}`;
    case 'processor': return `processor/${subject}`;
    case 'template': return `template/${snapshot.fleet.workloads.find(({ templateId }) => templateId === subject)?.slug ?? subject}`;
  }
}
