import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { commitMessage, parseTrailers, type MessageInput } from '../../../src/commit/message.ts';
import type { PendingChange, PendingRevision } from '../../../src/commit/revisions.ts';
import type { Digest, Epoch, NodeId, NodeName, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import type { Placement, Target } from '../../../src/model/placement.ts';
import type { ReasonCode } from '../../../src/model/reasons.ts';
import { instant } from '../../../src/model/time.ts';

const managed: Target = { kind: 'managed' };
const edge = (name: string): Target => ({ kind: 'edge', nodeId: `id of ${name}` as NodeId, nodeName: name as NodeName });

function placement(target: Target, epoch: number): Placement {
  return { processorId: 'p' as ProcessorId, epoch: epoch as Epoch, target, phase: 'active', reason: 'first-placement', since: instant(0), specDigest: 'd' as Digest, revision: 1 as RevisionId };
}

let serial = 0;
function change(fields: Partial<PendingChange> = {}): PendingChange {
  serial += 1;
  const processorId = `00000000-0000-4000-8000-${String(serial).padStart(12, '0')}` as ProcessorId;
  return {
    revision: 3 as RevisionId, processorId, kind: 'move', reason: 'heartbeat-stale', evidence: { node: 'edge-17', staleMs: 63_000, thresholdMs: 60_000 },
    before: placement(edge('edge-17'), 1), after: placement(managed, 2), slug: 'people-counter', ...fields,
  };
}

const revision = (id: number, trigger: ReasonCode = 'heartbeat-stale'): PendingRevision => ({ id: id as RevisionId, decidedAt: instant(0), trigger, inputsDigest: `inputs-${String(id)}` as Digest, urgent: true, cycle: `c${String(id)}` });

function input(changes: readonly PendingChange[], fields: Partial<MessageInput> = {}): MessageInput {
  return { cluster: 'alpha', renderer: 'dory 0.2.0', pending: [revision(3)], changes, revision: 3 as RevisionId, treeDigest: 'tree' as Digest, ...fields };
}

const many = (count: number, fields: Partial<PendingChange> = {}): PendingChange[] => Array.from({ length: count }, () => change(fields));
const subjectOf = (changes: readonly PendingChange[], fields: Partial<MessageInput> = {}): string => commitMessage(input(changes, fields)).split('\n')[0] ?? '';

describe('the subject', () => {
  const recovered = { reason: 'node-recovered', evidence: { node: 'edge-17', steadyMs: 60_000 } } as const;
  const stopped = { ...recovered, evidence: { ...recovered.evidence, fence: 'fence-silent', target: 'managed', silentMs: 61_000 } };
  const cases: readonly (readonly [string, readonly PendingChange[], string])[] = [
    ['a failover', many(37), 'failover(edge-17): move 37 processors (heartbeat stale 63 s)'],
    ['of a node that neither beats nor is Ready', many(2, { reason: 'node-dead', evidence: { node: 'edge-17', staleMs: 63_000, thresholdMs: 60_000, ready: 'unknown', notReadyMs: 20_000 } }), 'failover(edge-17): move 2 processors (not Ready, heartbeat stale 63 s)'],
    ['of a node whose agents fell silent', many(2, { kind: 'stop', reason: 'node-silent', evidence: { node: 'edge-17', staleMs: 63_000, thresholdMs: 60_000 } }), 'failover(edge-17): stop 2 processors (Ready, heartbeat stale 63 s)'],
    ['of a node whose kubelet fell silent', many(2, { kind: 'stop', reason: 'node-detached', evidence: { node: 'edge-17', ageMs: 1000, ready: 'unknown', notReadyMs: 30_000 } }), 'failover(edge-17): stop 2 processors (beats, but not Ready for 30 s)'],
    ['of one processor', many(1), 'failover(edge-17): move 1 processor (heartbeat stale 63 s)'],
    ['of several nodes', [...many(2), ...many(1, { evidence: { node: 'edge-18', staleMs: 70_000, thresholdMs: 60_000 } })], 'failover(2 nodes): move 3 processors (heartbeat stale 63 s)'],
    ['the first commit', many(24, { kind: 'place', reason: 'first-placement', evidence: { target: 'x' }, before: null }), 'place: 24 processors'],
    ['the way home begins', many(2, { kind: 'stop', ...recovered }), 'failback(edge-17): stop 2 processors (steady for 60 s)'],
    ['the way home ends', many(2, stopped), 'failback(edge-17): move 2 processors (old pods stopped)'],
    ['a failover among other things', [...many(5, { kind: 'update', reason: 'spec-changed', evidence: { changed: 'specification' } }), ...many(1)], 'failover(edge-17): move 1 processor, 5 others (heartbeat stale 63 s)'],
    ['a release', many(5, { kind: 'update', reason: 'spec-changed', evidence: { changed: 'specification' } }), 'update: 5 processors (specification)'],
    ['an end', many(2, { kind: 'remove', reason: 'row-removed', evidence: {}, after: null }), 'remove: 2 processors'],
    ['a restored file', [], 'restore: files that others changed'],
  ];
  test.each(cases)('of %s', (_name, changes, expected) => {
    expect(subjectOf(changes)).toBe(expected);
  });

  test('fits 72 characters, whatever a node is called', () => {
    const long = { node: 'n'.repeat(253), staleMs: 63_000, thresholdMs: 60_000 };
    expect(Array.from(subjectOf([...many(12_345, { evidence: long }), change({ kind: 'remove', reason: 'row-removed', after: null })])).length).toBeLessThanOrEqual(72);
  });
});

describe('the body', () => {
  test('has totals by route, and the first 50 moves with name, epoch and reason', () => {
    const message = commitMessage(input([...many(60), ...many(2, { after: placement(edge('edge-4'), 7) })]));
    expect(message).toContain('\n   60  edge-17 → managed\n    2  edge-17 → edge-4\n');
    const lines = message.split('\n').filter((line) => line.startsWith('- '));
    expect(lines).toHaveLength(51);
    expect(lines[0]).toMatch(/^- people-counter-[0-9a-f]{12}: edge-17 → managed \(epoch 2\): edge-17 is lost: .*; unfenced$/);
    expect(lines[50]).toBe('- and 12 more');
    expect(message).toContain('Unfenced moves: 62.');
  });

  test('does not call a fenced move unfenced, and names the fence', () => {
    const message = commitMessage(input([change({ evidence: { node: 'edge-17', steadyMs: 1, fence: 'fence-confirmed', target: 'managed', by: 'ada' }, reason: 'node-recovered' })]));
    expect(message).toContain('stop on managed confirmed by ada');
    expect(message.toLowerCase()).not.toContain('unfenced');
  });

  test('counts what is in quarantine', () => {
    expect(commitMessage(input(many(1), { quarantined: 2 }))).toContain('In quarantine: 2 processors.');
  });

  test('tells a processor that changed twice once: from where it was to where it is', () => {
    const first = change({ revision: 2 as RevisionId });
    const second = { ...first, revision: 3 as RevisionId, before: first.after, after: placement(edge('edge-4'), 3) };
    const message = commitMessage(input([first, second], { pending: [revision(2), revision(3)] }));
    expect(message).toContain('    1  edge-17 → edge-4\n');
    expect(parseTrailers(message).get('Dory-Changes')).toBe('1');
  });

  test('stays small for the largest fleet', () => {
    const changes = Array.from({ length: 50_000 }, (_, i) => change({ kind: 'place', reason: 'first-placement', before: null, after: placement(edge(`edge-${String(i % 900)}`), 1) }));
    expect(commitMessage(input(changes)).length).toBeLessThan(20_000);
  });
});

describe('trailers', () => {
  test('say to machines what was decided, from what, by what', () => {
    expect([...parseTrailers(commitMessage(input(many(1), { events: [4, 5, 6, 9] })))]).toEqual([
      ['Dory-Cluster', 'alpha'], ['Dory-Revision', '3'], ['Dory-Trigger', 'heartbeat-stale'], ['Dory-Events', '4-6,9'], ['Dory-Cycle', 'c3'], ['Dory-Changes', '1'],
      ['Dory-Inputs-Digest', 'inputs-3'], ['Dory-Tree-Digest', 'tree'], ['Dory-Renderer', 'dory 0.2.0'],
    ]);
  });

  test('name every revision that one commit carries', () => {
    const trailers = parseTrailers(commitMessage(input(many(1), { pending: [revision(1), revision(2, 'spec-changed'), revision(3)] })));
    expect(trailers.get('Dory-Revision')).toBe('3');
    expect(trailers.get('Dory-Revisions')).toBe('1-3');
    expect(trailers.get('Dory-Trigger')).toBe('heartbeat-stale,spec-changed');
    expect(trailers.get('Dory-Inputs-Digest')).toBe('inputs-3');
  });

  test('stay one line each, however much there is', () => {
    const odd = Array.from({ length: 5000 }, (_, i) => i * 2);
    const events = parseTrailers(commitMessage(input(many(1), { events: odd }))).get('Dory-Events') ?? '';
    expect(events).toMatch(/^0,2,4,.*,\+4960$/);
  });

  test('are only those of a last paragraph that is made of nothing else', () => {
    expect(parseTrailers('subject\n\nDory-Revision: 1\n\nmore text\n')).toEqual(new Map());
    expect(parseTrailers('subject\n\nDory-Revision: 1\nThis reverts commit x.\n')).toEqual(new Map());
  });
});

test('nothing that a name can hold begins a line, ends one, or turns it around', () => {
  const nasty = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.constantFrom('x\n\nDory-Revision: 999', 'x\rDory-Cluster: beta', 'a\u2028Dory-Revision: 9', '\u202egro.live', '\u0000\u001b[31m', '\ud800', 'x'.repeat(5000), '- ', '', '\u200b'),
  );
  fc.assert(fc.property(nasty, nasty, nasty, (node, slug, other) => {
    const changes = [change({ slug, evidence: { node, staleMs: 1, thresholdMs: 1, changed: other }, before: placement(edge(node), 1), after: placement(edge(other), 2) })];
    const message = commitMessage(input(changes));
    const trailers = parseTrailers(message);
    expect(trailers.get('Dory-Revision')).toBe('3');
    expect(trailers.get('Dory-Cluster')).toBe('alpha');
    expect(message.split('\n').filter((line) => line.startsWith('Dory-'))).toHaveLength(8);
    expect(message.split('\n').filter((line) => line.startsWith('- '))).toHaveLength(1);
    expect(message.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}\u200b-\u200f\u202a-\u202e\u2066-\u2069]|\p{Surrogate}/u);
    expect(Array.from(message.split('\n')[0] ?? '').length).toBeLessThanOrEqual(72);
  }));
});
