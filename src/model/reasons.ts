import type { Target } from './placement.ts';
import { formatMillis, millis } from './time.ts';

/**
 * Why something was decided, held or rejected: one table of codes, each with the sentence made from its evidence.
 * Tests and machines compare codes; sentences are for people, and no two codes share one.
 */
export type Evidence = Readonly<Record<string, string | number | boolean | null>>;

export interface Rejection {
  readonly target: Target;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

const age = (e: Evidence, key: string): string => formatMillis(millis(Number(e[key] ?? 0)));
const text = (e: Evidence, key: string): string => String(e[key] ?? '?');

const sentences = {
  // Placements
  'first-placement': (e) => `first placement on ${text(e, 'target')}`,
  'heartbeat-stale': (e) => `${text(e, 'node')} is lost: heartbeat stale ${age(e, 'staleMs')} (threshold ${age(e, 'thresholdMs')})`,
  'node-decommissioned': (e) => `${text(e, 'node')} is decommissioned`,
  'node-recovered': (e) => `${text(e, 'node')} is back and steady for ${age(e, 'steadyMs')}`,
  'home-changed': (e) => `its home is now ${text(e, 'home')}`,
  'move-cancelled': (e) => `${text(e, 'node')} can't take it after all; it stays on ${text(e, 'target')}`,
  'spec-changed': (e) => `changed: ${text(e, 'changed')}`,
  'row-removed': () => 'its row is gone, terminated or failed',
  // Fences: what proved that the old pod writes no more
  'fence-acknowledged': (e) => `stop acknowledged by the agent on ${text(e, 'target')} (${age(e, 'waitedMs')} after the request)`,
  'fence-silent': (e) => `silent on ${text(e, 'target')} for ${age(e, 'silentMs')} after it was told to stop`,
  'fence-confirmed': (e) => `stop on ${text(e, 'target')} confirmed by ${text(e, 'by')}`,
  // Holds: what would happen, and does not
  'no-eligible-target': (e) => `must leave ${text(e, 'node')}, and nothing can take it`,
  'waiting-for-fence': (e) => `stopping on ${text(e, 'target')} since ${age(e, 'waitedMs')}; its agent must stop first`,
  'fence-unheard': (e) => `stopping on ${text(e, 'target')} since ${age(e, 'waitedMs')}, and no heartbeat of it was ever seen; confirm that it stopped`,
  'waiting-for-stability': (e) => `${text(e, 'node')} is back since ${age(e, 'steadyMs')}; moves home after ${age(e, 'windowMs')}`,
  'intake-down': (e) => `no heartbeat receiver was up long enough to tell (${text(e, 'detail')})`,
  'empty-result': (e) => `${text(e, 'table')} returned no row where ${text(e, 'before')} processors are placed; refused as suspicious`,
  'epoch-behind': (e) => `the database knows epoch ${text(e, 'known')}, Git shows ${text(e, 'seen')}: restored from a backup?`,
  // Verdicts and rejections of a candidate
  'heartbeat-fresh': (e) => `${text(e, 'node')} beats (last ${age(e, 'ageMs')} ago)`,
  'never-reported': (e) => `${text(e, 'node')} has never sent a heartbeat`,
  'not-yet-stale': (e) => `${text(e, 'node')} is silent for ${age(e, 'staleMs')}, not yet ${age(e, 'thresholdMs')}`,
  'returning': (e) => `${text(e, 'node')} beats again since ${age(e, 'steadyMs')}, not yet steady for ${age(e, 'windowMs')}`,
  'node-missing': (e) => `node ${text(e, 'node')} does not exist`,
  'node-not-healthy': (e) => `${text(e, 'node')} is ${text(e, 'verdict')}`,
  'failover-off-node': (e) => `failover is switched off for node ${text(e, 'node')}`,
  'failover-off-app': (e) => `failover is switched off for ${text(e, 'slug')} on ${text(e, 'node')}`,
  'state-not-portable': (e) => `its state backend is ${text(e, 'backend')}, which stays on the node`,
  'gpu-missing': (e) => `it needs a GPU, and ${text(e, 'target')} has none`,
  'architecture-missing': (e) => `it runs on ${text(e, 'needs')}, and ${text(e, 'target')} has ${text(e, 'has')}`,
} as const satisfies Record<string, (evidence: Evidence) => string>;

export type ReasonCode = keyof typeof sentences;
export const reasonCodes = Object.keys(sentences) as readonly ReasonCode[];

/** The sentence of a reason, made from its evidence. Names in it come from the database: treat as untrusted text. */
export function sentence(reason: ReasonCode, evidence: Evidence): string {
  return sentences[reason](evidence);
}
