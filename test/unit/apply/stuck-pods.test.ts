import { describe, expect, test } from 'vitest';
import { fateOf, type Departure, type Surroundings } from '../../../src/apply/stuck-pods.ts';
import { millis, seconds } from '../../../src/model/time.ts';

type Given = Partial<Departure & Surroundings> & { readonly node?: string | null; readonly overdueMs?: number | null };

/** Terminating on a lost node, fenced and committed, unless said. */
function fate(given: Given = {}): string {
  const { node = 'edge-1', overdueMs = 60_000, committed = true, fence = 'unfenced', removed = false, kubelet = 'silent', bound = seconds(30) } = given;
  const pod = { node, overdue: overdueMs === null ? null : millis(overdueMs) };
  const found = fateOf(pod, { committed, fence, removed }, { kubelet, bound });
  return found.kind === 'wait' ? `wait ${found.why}` : found.kind;
}

describe('a pod that a move left behind', () => {
  test.each<[string, Given, string]>([
    ['terminates on a node that is lost', {}, 'force'],
    ['runs on a node that is lost', { overdueMs: null }, 'force'],
    ['is of a node that is no more', { kubelet: 'gone' }, 'force'],
    ['has no fence on record', { fence: null }, 'wait no-fence'],
    ['is of a move that no commit carries', { committed: false }, 'wait not-committed'],
    ['terminates while its kubelet answers', { kubelet: 'answers', overdueMs: -5_000 }, 'wait kubelet'],
    ['terminates for exactly the bound', { kubelet: 'answers', overdueMs: 30_000 }, 'wait kubelet'],
    ['terminates for longer than the bound', { kubelet: 'answers', overdueMs: 30_001 }, 'overdue'],
    ['runs on a node that came back', { kubelet: 'answers', overdueMs: null }, 'wait successor'],
    ['waits for a node', { node: null, overdueMs: null, kubelet: 'gone' }, 'delete'],
    ['waits for a node, unfenced by anybody', { node: null, overdueMs: null, kubelet: 'gone', fence: null }, 'wait no-fence'],
    ['of a removed row runs on a node that came back', { removed: true, fence: null, kubelet: 'answers', overdueMs: null }, 'delete'],
    ['of a removed row terminates while its kubelet answers', { removed: true, fence: null, kubelet: 'answers', overdueMs: -5_000 }, 'wait kubelet'],
    ['of a removed row waits for a node', { removed: true, fence: null, node: null, overdueMs: null, kubelet: 'gone' }, 'delete'],
    ['of a removed row may still run behind a kubelet that is silent', { removed: true, fence: null }, 'wait no-fence'],
    ['of a removed row may still run on a node that is no more', { removed: true, fence: null, kubelet: 'gone' }, 'wait no-fence'],
    ['of a removed row had left behind a fence before', { removed: true }, 'force'],
    ['of a removed row, of which no commit tells', { removed: true, committed: false, fence: null, kubelet: 'answers', overdueMs: null }, 'wait not-committed'],
  ])('%s', (_what, given, expected) => {
    expect(fate(given)).toBe(expected);
  });

  test('is never forced while its kubelet answers', () => {
    for (const overdueMs of [null, -1, 0, 1e9]) expect(fate({ kubelet: 'answers', overdueMs })).not.toBe('force');
  });
});
