import { expect, test } from 'vitest';
import { detectedAt } from '../../../src/commit/detected.ts';
import type { PendingChange, PendingRevision } from '../../../src/commit/revisions.ts';
import type { Digest, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import type { Evidence, ReasonCode } from '../../../src/model/reasons.ts';
import { instant } from '../../../src/model/time.ts';

const revision = (id: number, at: number): PendingRevision => ({ id: id as RevisionId, decidedAt: instant(at), trigger: 'node-dead', inputsDigest: 'd' as Digest, urgent: true, cycle: null });
const change = (id: number, reason: ReasonCode, evidence: Evidence): PendingChange => ({
  revision: id as RevisionId, processorId: 'p' as ProcessorId, kind: 'move', reason, evidence, before: null, after: null, slug: null,
});

test('a failure was detectable when its signal crossed the threshold; of each revision the earliest counts', () => {
  const pending = [revision(1, 100_000), revision(2, 200_000), revision(3, 300_000)];
  const changes = [
    change(1, 'heartbeat-stale', { staleMs: 61_000, thresholdMs: 60_000 }),
    change(1, 'node-dead', { staleMs: 64_000, thresholdMs: 60_000 }),
    change(2, 'first-placement', {}),
    change(3, 'node-not-ready', { notReadyMs: 31_000, thresholdMs: 30_000 }),
    change(3, 'node-recovered', { steadyMs: 60_000 }),
  ];
  expect(detectedAt(pending, changes)).toEqual([96_000, 299_000]);
});

test('a change that no revision of these decided, and one that came before its threshold, are no news from the past', () => {
  expect(detectedAt([revision(1, 100_000)], [change(2, 'heartbeat-stale', { staleMs: 90_000, thresholdMs: 60_000 })])).toEqual([]);
  expect(detectedAt([revision(1, 100_000)], [change(1, 'node-detached', { notReadyMs: 10_000, thresholdMs: 30_000 })])).toEqual([100_000]);
});
