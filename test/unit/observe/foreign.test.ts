import { describe, expect, test } from 'vitest';
import type { ProcessorId } from '../../../src/model/ids.ts';
import { known, unknown } from '../../../src/model/observed.ts';
import { instant } from '../../../src/model/time.ts';
import { foreignOf, type ForeignFacts, type Handovers } from '../../../src/observe/foreign.ts';
import { plan } from '../../../src/plan/plan.ts';
import { World } from '../../support/world.ts';

const id = (name: string): ProcessorId => name as ProcessorId;
const rows = (own: Readonly<Record<string, 'ours' | 'theirs'>>, fleet: 'ours' | 'theirs' | null = null): Handovers => ({
  fleet: fleet === null ? null : { towards: fleet, by: 'ada' },
  processors: new Map(Object.entries(own).map(([name, towards]) => [id(name), { towards, by: 'bob' }])),
});
const bare = (...names: readonly string[]): ForeignFacts['bare'] => known(new Set(names.map(id)), instant(1));

/** Of three processors: `a` placed, `b` placed once, `c` never. */
function told(given: { readonly handovers?: Handovers; readonly bare: ForeignFacts['bare']; readonly reason?: 'first-placement' | 'handed-back' }): readonly string[] {
  const facts = {
    fleet: { processors: ['a', 'b', 'c'].map((name) => ({ id: name })), quarantined: [] },
    placements: [{ processorId: 'a', reason: given.reason ?? 'first-placement' }],
    retired: [{ processorId: 'b' }],
    handovers: given.handovers ?? rows({}),
    bare: given.bare,
  } as unknown as ForeignFacts;
  return foreignOf(facts).map(({ processorId, why, by }) => [processorId, why, by ?? ''].join(' ').trim());
}

describe('what the system that ran here before has', () => {
  test('nothing, without a cluster or without a pod of it', () => {
    expect(told({ bare: null })).toEqual([]);
    expect(told({ bare: bare() })).toEqual([]);
  });
  test('what it started, unless it is placed: then the pod is a leftover', () => {
    expect(told({ bare: bare('c', 'b', 'a') })).toEqual(['b left', 'c left']);
    // Labels are what somebody wrote; ids of rows are in lower case.
    expect(told({ bare: bare('C', 'A') })).toEqual(['c left']);
  });
  test('while the cluster gives no news, what was never placed', () => {
    expect(told({ bare: unknown('watch-down') })).toEqual(['c unseen']);
  });
  test('and what was handed back, though it is asked for again; what was removed may have been', () => {
    expect(told({ bare: unknown('watch-down'), handovers: rows({}, 'ours'), reason: 'handed-back' })).toEqual(['a unseen', 'b unseen', 'c unseen']);
    expect(told({ bare: unknown('watch-down'), handovers: rows({}, 'ours') })).toEqual(['b unseen', 'c unseen']);
  });
  test('what was handed back, one by one or all, save those that are ours by name', () => {
    expect(told({ bare: bare(), handovers: rows({ a: 'theirs', b: 'ours' }) })).toEqual(['a handed-back bob']);
    expect(told({ bare: bare(), handovers: rows({ b: 'ours' }, 'theirs') })).toEqual(['a handed-back ada', 'c handed-back ada']);
  });
  test('what was handed back and is asked for again, until its pod is gone', () => {
    expect(told({ bare: bare('a'), handovers: rows({}, 'ours'), reason: 'handed-back' })).toEqual(['a left']);
    expect(told({ bare: bare(), handovers: rows({}, 'ours'), reason: 'handed-back' })).toEqual([]);
  });
});

describe('what is planned for it', () => {
  const decided = (world: World): readonly string[] => {
    const { changes, holds } = plan(world.snapshot());
    return [...changes.map(({ kind, reason }) => `${kind} ${reason}`), ...holds.map(({ reason, needsPerson }) => `held ${reason}${needsPerson ? ' person' : ''}`)];
  };
  const world = (): World => {
    const made = new World();
    made.addNode('edge-1');
    made.addProcessor('p', { home: 'edge-1' });
    made.beat();
    return made;
  };

  test.each([['left', 'held not-adopted person'], ['unseen', 'held pods-unseen'], ['handed-back', 'held handed-back person']] as const)('%s: nothing is placed', (why, expected) => {
    const made = world();
    made.foreign = [{ processorId: id('p'), why, by: null }];
    expect(decided(made)).toEqual([expected]);
  });

  test('handed back: stopped where it runs, started nowhere, and resumed when it is taken again', () => {
    const made = world();
    const step = (): readonly string[] => {
      const before = decided(made);
      made.apply(plan(made.snapshot()));
      return before;
    };
    expect(step()).toEqual(['place first-placement']);
    made.foreign = [{ processorId: id('p'), why: 'handed-back', by: 'ada' }];
    expect(step()).toEqual(['stop handed-back']);
    expect(step()).toEqual(['held handed-back person']);
    made.foreign = [];
    made.beat();
    expect(step()).toEqual(['resume move-cancelled']);
  });
});
