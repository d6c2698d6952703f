import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Beat, Standing } from '../../../src/http/heartbeat.ts';
import { writeBatch } from '../../../src/http/intake-sql.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { beatOf, testFleet, type TestFleet } from './fleet.ts';

/** The rules of `architecture.md` once more, one beat at a time, held against the statement that judges a batch at once. */

let db: TestDatabase;
let fleet: TestFleet;
beforeAll(async () => {
  db = await testDatabase();
  fleet = await testFleet(db.pool);
});
afterAll(() => db.close());

const names = ['edge-a', 'edge-b'] as const;
const statuses = ['healthy', 'stopped'] as const;

interface NodeSpec {
  readonly name: (typeof names)[number];
  readonly gone: boolean;
}
interface ProcessorSpec {
  readonly status: 'running' | 'failed';
  /** Null: no placement. `node` null: managed. */
  readonly placement: { readonly node: number | null; readonly epoch: number; readonly phase: 'active' | 'stopping' } | null;
}
interface BeatSpec {
  /** Null: a node beat; beyond the last one: unknown. */
  readonly processor: number | null;
  readonly from: { readonly by: 'nothing' } | { readonly by: 'elsewhere' } | { readonly by: 'id' | 'name'; readonly node: number };
  readonly echo: number | null;
  readonly status: (typeof statuses)[number];
  readonly proven: boolean;
}
interface World {
  readonly nodes: readonly NodeSpec[];
  readonly processors: readonly ProcessorSpec[];
  readonly beats: readonly BeatSpec[];
}

const nodeCount = 3;
const node = fc.nat({ max: nodeCount - 1 });
const world: fc.Arbitrary<World> = fc.record({
  nodes: fc.array(fc.record({ name: fc.constantFrom(...names), gone: fc.constantFrom(false, false, true) }), { minLength: nodeCount, maxLength: nodeCount }),
  processors: fc.array(
    fc.record({
      status: fc.constantFrom('running', 'running', 'running', 'failed'),
      placement: fc.option(fc.record({ node: fc.option(node, { freq: 3 }), epoch: fc.integer({ min: 1, max: 3 }), phase: fc.constantFrom('active', 'stopping') }), { freq: 6 }),
    }),
    { minLength: 3, maxLength: 3 },
  ),
  // A batch has at most one beat for each processor.
  beats: fc.uniqueArray(
    fc.record({
      processor: fc.option(fc.nat({ max: 3 }), { freq: 6 }),
      from: fc.oneof(fc.constantFrom({ by: 'nothing' } as const, { by: 'elsewhere' } as const), fc.record({ by: fc.constantFrom('id', 'name'), node })),
      echo: fc.option(fc.integer({ min: 1, max: 3 }), { freq: 1 }),
      status: fc.constantFrom(...statuses),
      proven: fc.boolean(),
    }),
    { minLength: 1, maxLength: 5, selector: ({ processor }) => processor ?? Symbol('node beat') },
  ),
});

interface Expected {
  readonly standing: Standing;
  /** The node that it counts for, decommissioned or not. */
  readonly node: number | null;
  readonly leased: boolean;
}

function expected({ nodes, processors }: World, { processor, from, echo, proven }: BeatSpec): Expected {
  const spec = processor === null ? null : processors[processor];
  const placement = spec?.placement ?? null;
  const target = placement?.node ?? null;
  const named = namedNode(nodes, from, target);
  const there = whetherThere(from, named, placement);
  const inPlace = placement !== null && (echo === null || (proven && echo === placement.epoch) ? there : !proven && echo === placement.epoch);
  const standing = standingOf(spec, processor, echo, inPlace);
  const lives = standing === 'current' || standing === 'stopping';
  return { standing, node: named ?? (lives ? target : null), leased: standing === 'current' && echo !== null && there };
}

function namedNode(nodes: World['nodes'], from: BeatSpec['from'], target: number | null): number | null {
  if (from.by === 'nothing' || from.by === 'elsewhere') return null;
  if (from.by === 'id') return from.node;
  const name = nodes[from.node]?.name;
  if (target !== null && nodes[target]?.name === name) return target;
  const all = [...nodes.keys()].filter((at) => nodes[at]?.name === name);
  const live = all.filter((at) => nodes[at]?.gone === false);
  if (live.length > 1) return null;
  // Of several that are gone it does not matter which: none is written.
  return live[0] ?? all[0] ?? null;
}

function whetherThere(from: BeatSpec['from'], named: number | null, placement: ProcessorSpec['placement']): boolean {
  if (from.by === 'nothing') return true;
  if (placement?.node === null) return from.by === 'elsewhere';
  return named !== null && named === placement?.node;
}

function standingOf(spec: ProcessorSpec | null | undefined, processor: number | null, echo: number | null, inPlace: boolean): Standing {
  if (processor === null) return 'node';
  if (spec === null || spec === undefined) return 'unknown';
  if (spec.status === 'failed') return 'ended';
  if (spec.placement === null) return 'unplaced';
  if (echo !== null && echo > spec.placement.epoch) return 'ahead';
  if (!inPlace) return 'stale';
  return spec.placement.phase === 'stopping' ? 'stopping' : 'current';
}

test('a batch is judged as each of its beats would be', async () => {
  const options = { gapSec: 5, restartCoverage: false, leaseSec: 30, nodeSec: 1, timeoutMs: 10_000 };
  await fc.assert(
    fc.asyncProperty(world, async (given) => {
      // Names of this run only.
      const run = randomUUID();
      const nodes = await Promise.all(given.nodes.map(({ name, gone }) => fleet.node(`${name}-${run}`, { status: gone ? 'decommissioned' : 'online', organizationId: randomUUID() })));
      const processors = await Promise.all(given.processors.map(({ status }) => fleet.processor(status)));
      for (const [at, { placement }] of given.processors.entries()) {
        if (placement !== null) await fleet.place(processors[at]!, placement.node === null ? null : nodes[placement.node]!, placement);
      }
      const beats = given.beats.map(({ processor, from, echo, status, proven }): Beat => {
        const node_id = { nothing: undefined, elsewhere: `ip-${run}`, id: 'node' in from ? nodes[from.node] : '', name: 'node' in from ? `${given.nodes[from.node]!.name}-${run}` : '' }[from.by];
        const processor_id = processor === null ? undefined : (processors[processor] ?? randomUUID());
        return { ...beatOf({ processor_id, node_id, status, ...(echo === null ? {} : { placement_epoch: echo }) }), proven };
      });

      const judged = await writeBatch(db.pool, beats, options);
      const expectations = given.beats.map((beat) => expected(given, beat));
      expect(judged.map(({ standing }) => standing)).toEqual(expectations.map(({ standing }) => standing));
      const counted = new Set(expectations.map((one) => one.node).filter((at) => at !== null && !given.nodes[at]!.gone));
      expect(await Promise.all(nodes.map(async (id) => (await fleet.lastHeartbeat(id)) !== null))).toEqual(nodes.map((_, at) => counted.has(at)));
      for (const [at, { processor }] of given.beats.entries()) {
        if (processor === null || processors[processor] === undefined) continue;
        const { standing, leased } = expectations[at]!;
        const stored = await fleet.beat(processors[processor]);
        expect(stored !== undefined).toBe(standing === 'current' || standing === 'stopping');
        expect((stored?.lease_until ?? null) !== null).toBe(leased);
        expect((stored?.stop_acknowledged_at ?? null) !== null).toBe(standing === 'stopping' && given.beats[at]!.status === 'stopped');
        expect((await fleet.row(processors[processor])).last_health_check_at !== null).toBe(['current', 'stopping', 'unplaced'].includes(standing));
      }
    }),
    { numRuns: 100 },
  );
});
