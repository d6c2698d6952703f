import { failureReasons } from '../model/reasons.ts';
import { instant, type Instant } from '../model/time.ts';
import type { PendingChange, PendingRevision } from './revisions.ts';

/**
 * When the signals that a revision answers crossed their thresholds: of each revision with failures the earliest moment, by the
 * database's clock. Evidence says how long ago a signal was seen, and how much of that the threshold forgives.
 */
export function detectedAt(pending: readonly PendingRevision[], changes: readonly PendingChange[]): readonly Instant[] {
  const decided = new Map(pending.map(({ id, decidedAt }) => [id, decidedAt]));
  const first = new Map<number, Instant>();
  for (const { revision, reason, evidence } of changes) {
    const at = decided.get(revision);
    if (at === undefined || !failureReasons.has(reason)) continue;
    const crossed = instant(at - Math.max(0, Number(evidence['staleMs'] ?? evidence['notReadyMs'] ?? 0) - Number(evidence['thresholdMs'] ?? 0)));
    const known = first.get(revision);
    if (known === undefined || crossed < known) first.set(revision, crossed);
  }
  return [...first.values()];
}
