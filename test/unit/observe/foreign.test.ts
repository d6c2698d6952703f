import { describe, expect, test } from 'vitest';
import type { ProcessorId } from '../../../src/model/ids.ts';
import { known, unknown } from '../../../src/model/observed.ts';
import { instant } from '../../../src/model/time.ts';
import { foreignOf, type ForeignFacts, type Handovers } from '../../../src/observe/foreign.ts';
import { plan } from '../../../src/plan/plan.ts';
import { World } from '../../support/world.ts';

const id = (name: string): ProcessorId => name as ProcessorId;
const askedAt = 10;
const rows = (own: Readonly<Record<string, 'ours' | 'theirs'>>, fleet: 'ours' | 'theirs' | null = null): Handovers => ({
  fleet: fleet === null ? null : { towards: fleet, by: 'ada', at: instant(askedAt) },
  processors: new Map(Object.entries(own).map(([name, towards]) => [id(name), { towards, by: 'bob', at: instant(askedAt) }])),
});
const bareAt = (at: number, ...names: readonly string[]): ForeignFacts['bare'] => known(new Set(names.map(id)), instant(at));
const bare = (...names: readonly string[]): ForeignFacts['bare'] => bareAt(askedAt + 1, ...names);

/** Of three processors: `a` placed, `b` placed once, `c` never. */
function told(given: { readonly handovers?: Handovers; readonly bare: ForeignFacts['bare']; readonly phase?: 'active' | 'stopping' }): readonly string[] {
  const facts = {
    fleet: { processors: ['a', 'b', 'c'].map((name) => ({ id: name })), quarantined: [] },
    placements: [{ processorId: 'a', phase: given.phase ?? 'active' }],
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
  test('what it started; beside ours, where it is placed', () => {
    expect(told({ bare: bare('c', 'b', 'a') })).toEqual(['a beside', 'b left', 'c left']);
    // Labels are what somebody wrote; ids of rows are in lower case.
    expect(told({ bare: bare('C', 'A') })).toEqual(['a beside', 'c left']);
  });
  test('while the cluster gives no news, what was never placed', () => {
    expect(told({ bare: unknown('watch-down') })).toEqual(['c unseen']);
    expect(told({ bare: unknown('watch-down'), phase: 'stopping' })).toEqual(['c unseen']);
  });
  test('and what was handed back, though it is asked for again; what was removed may have been', () => {
    expect(told({ bare: unknown('watch-down'), handovers: rows({}, 'ours'), phase: 'stopping' })).toEqual(['a unseen', 'b unseen', 'c unseen']);
    expect(told({ bare: unknown('watch-down'), handovers: rows({ c: 'theirs' }), phase: 'stopping' })).toEqual(['a unseen', 'b unseen', 'c handed-back bob']);
    expect(told({ bare: unknown('watch-down'), handovers: rows({}, 'ours') })).toEqual(['b unseen', 'c unseen']);
  });
  test('what was handed back, one by one or all, save those that are ours by name', () => {
    expect(told({ bare: bare(), handovers: rows({ a: 'theirs', b: 'ours' }) })).toEqual(['a handed-back bob']);
    expect(told({ bare: bare(), handovers: rows({ b: 'ours' }, 'theirs') })).toEqual(['a handed-back ada', 'c handed-back ada']);
  });
  test('what was handed back and is asked for again, until its pod is gone', () => {
    expect(told({ bare: bare('a'), handovers: rows({}, 'ours'), phase: 'stopping' })).toEqual(['a left']);
    expect(told({ bare: bare(), handovers: rows({}, 'ours'), phase: 'stopping' })).toEqual([]);
  });
  test('what was asked for since the last look at its pods: until then it may have been started', () => {
    expect(told({ bare: bareAt(askedAt, 'b'), handovers: rows({}, 'ours'), phase: 'stopping' })).toEqual(['a unseen', 'b left', 'c unseen']);
    expect(told({ bare: bareAt(askedAt - 1), handovers: rows({ b: 'ours', c: 'theirs' }) })).toEqual(['b unseen', 'c handed-back bob']);
    expect(told({ bare: bareAt(askedAt - 1), handovers: rows({}, 'ours') })).toEqual(['b unseen', 'c unseen']);
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

  test('beside ours: told, whatever else becomes of it', () => {
    const made = world();
    made.apply(plan(made.snapshot()));
    made.beat();
    made.foreign = [{ processorId: id('p'), why: 'beside', by: null }];
    expect(decided(made)).toEqual(['held not-alone person']);
    made.processors.get('p')!.release += 1;
    expect(decided(made)).toEqual(['update spec-changed', 'held not-alone person']);
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
