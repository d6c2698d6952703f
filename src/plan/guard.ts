import type { GuardVerdict } from '../model/plan.ts';
import type { World } from './world.ts';

/** The fleet guard's word on the world. */
export function guardOf({ snapshot }: World): GuardVerdict {
  return { state: 'calm', since: snapshot.at, leftPanicAt: null, reason: 'guard-calm', evidence: { failed: 0, nodes: snapshot.fleet.nodes.length } };
}
