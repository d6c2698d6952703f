import type { z } from 'zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { Failure } from '../../../src/model/failure.ts';
import { eventsList } from '../../../src/operator/events-view.ts';
import { nodesList, type NodeItem } from '../../../src/operator/nodes-view.ts';
import { runOperation, type Operation, type OperatorContext } from '../../../src/operator/operation.ts';
import { processorsList } from '../../../src/operator/processors-view.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

let database: TestDatabase;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let fleet: TestFleet;
let context: OperatorContext;

/** A fleet with one failover behind it. */
beforeAll(async () => {
  database = await testDatabase();
  folder = await temporaryFolder();
  await seedSmallFleet(database.pool);
  fleet = await testFleet({ ...database, folder: folder.path });
  context = operatorContext(fleet.runtime, fleet.engine.repository);
  await fleet.once();
  await fleet.age(61_000, 'edge-1');
  await fleet.once();
  await database.pool.query(`
    insert into dory.locks (scope, subject, name, owner, reason, expires_at)
      values ('node', '00000000-0000-4000-8000-0000000000e2', 'edge-2', 'ann', 'new disk', now() + interval '1 hour'),
             ('node', '00000000-0000-4000-8000-0000000000e1', 'edge-1', 'bob', 'over', now() - interval '1 second');
    insert into dory.beats (processor_id, epoch, last_beat_at, status, role, sdk_epoch, state_size_bytes, last_state_sync, lease_until)
      values ('00000000-0000-4000-8000-0000000000c1', 2, now(), 'healthy', 'active', 41, 1536, now(), now() + interval '30 seconds'),
             ('00000000-0000-4000-8000-0000000000c2', 1, now(), 'healthy', 'active', 7, 1, null, null);
    insert into dory.holds (processor_id, since, reason, evidence, needs_person) values ('00000000-0000-4000-8000-0000000000c3', now(), 'policy-hold', '{}', true);
    insert into dory.events (kind, evidence) values ('approved', '{"subject": "guard", "by": "ann", "reason": "power is back"}');
  `);
});

afterAll(async () => {
  await fleet.close();
  await database.close();
  await folder.remove();
});

type List<Item> = Operation<z.ZodObject, z.ZodType<{ items: Item[]; continue: string | null }>>;

async function list<Item>(operation: List<Item>, input: object = {}): Promise<{ items: Item[]; continue: string | null }> {
  return operation.output.parse(await runOperation(context, operation, input, { name: 'test' }));
}

/** All pages of so many. */
async function inPages<Item>(operation: List<Item>, limit: number): Promise<Item[]> {
  const items: Item[] = [];
  for (let from: string | null | undefined; from !== null;) {
    const page: { items: Item[]; continue: string | null } = await list(operation, { limit, ...(from === undefined ? {} : { continue: from }) });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    items.push(...page.items);
    from = page.continue;
  }
  return items;
}

const refusal = async (operation: Operation, input: object): Promise<string> =>
  runOperation(context, operation, input, { name: 'test' }).then(() => 'taken', (error: unknown) => (error instanceof Failure ? error.code : String(error)));

describe('nodes', () => {
  it('are told with verdict, heartbeat, processors and the lock that holds', async () => {
    const { items } = await list(nodesList);
    expect(items).toMatchObject([
      { name: 'edge-1', verdict: 'lost', processors: 0, lock: null, ready: null },
      { name: 'edge-2', verdict: 'healthy', processors: 0, lock: { owner: 'ann', reason: 'new disk' } },
    ]);
    expect(items[0]?.heartbeatAgeMs).toBeGreaterThan(60_000);
    expect(items[0]?.why).toContain('edge-1 is lost');
  });

  it('can be asked for by verdict, and page by page', async () => {
    expect((await list(nodesList, { verdict: 'lost' })).items.map(({ name }) => name)).toEqual(['edge-1']);
    expect((await inPages(nodesList, 1)).map(({ name }) => name)).toEqual(['edge-1', 'edge-2']);
    expect(await refusal(nodesList, { continue: 'nonsense' })).toBe('invalid-input');
  });

  it('are Ready or not where Kubernetes is watched, and at the site that it names', async () => {
    const watching = { ...context, nodeCondition: () => ({ ready: 'unknown', since: 0, taints: [], leaseAgeMs: null, architecture: null, gpu: null, site: 'north' }) } as unknown as OperatorContext;
    const { items } = (await runOperation(watching, nodesList, {}, { name: 'test' })) as { items: NodeItem[] };
    expect(items[0]).toMatchObject({ ready: 'Unknown', site: 'north' });
  });
});

describe('processors', () => {
  it('are told with home, target, and what the agent of this placement says', async () => {
    const { items } = await list(processorsList);
    expect(items).toMatchObject([
      { name: expect.stringMatching(/^camera-[0-9a-f]{12}$/) as string, template: 'camera', home: 'edge-1', target: 'managed', phase: 'active', epoch: 2, role: 'active', sdkEpoch: 41, stateSizeBytes: 1536, held: null },
      // A beat of its last epoch is not its own.
      { home: 'edge-1', target: 'managed', epoch: 2, heartbeat: null, sdkEpoch: null, leaseUntil: null },
      { home: 'managed', target: 'managed', epoch: 1, held: 'policy-hold' },
    ]);
    expect(items[0]?.leaseUntil).not.toBeNull();
  });

  it('can be asked for by node, by template, away from home, held, and page by page', async () => {
    const ids = async (input: object): Promise<string[]> => (await list(processorsList, input)).items.map(({ id }) => id.slice(-2));
    expect(await ids({ node: 'edge-1' })).toEqual([]);
    expect(await ids({ template: 'camera' })).toEqual(['c1', 'c2', 'c3']);
    expect(await ids({ template: 'other' })).toEqual([]);
    expect(await ids({ away: true })).toEqual(['c1', 'c2']);
    expect(await ids({ held: true })).toEqual(['c3']);
    expect((await inPages(processorsList, 2)).map(({ id }) => id.slice(-2))).toEqual(['c1', 'c2', 'c3']);
    expect(await refusal(processorsList, { continue: `' or true` })).toBe('invalid-input');
    expect(await refusal(processorsList, { node: 'edge-9' })).toBe('not-found');
  });
});

describe('events', () => {
  it('are told newest first, with cycle, revision and commit', async () => {
    const { items } = await list(eventsList);
    expect(items[0]).toMatchObject({ kind: 'approved', cycle: null, revision: null, commit: null, why: 'guard: by ann: power is back' });
    const moves = items.filter(({ kind }) => kind === 'move');
    const lost = items.find(({ kind }) => kind === 'verdict-lost');
    expect(moves).toHaveLength(2);
    expect(lost).toMatchObject({ node: 'edge-1', cycle: moves[0]?.cycle, revision: 2, commit: (await fleet.git('rev-parse', 'main')).trim() });
    expect(items.map(({ id }) => id)).toEqual(items.map(({ id }) => id).toSorted((a, b) => b - a));
  });

  it('can be asked for by node, processor, kind, cycle, revision and age, and page by page', async () => {
    const kinds = async (input: object): Promise<string[]> => [...new Set((await list(eventsList, input)).items.map(({ kind }) => kind))].sort();
    const all = (await list(eventsList)).items;
    expect(await kinds({ node: 'edge-1', kind: 'verdict' })).toEqual(['verdict-healthy', 'verdict-lost']);
    expect(await kinds({ processor: '00000000-0000-4000-8000-0000000000c1', kind: 'move' })).toEqual(['move']);
    expect((await list(eventsList, { cycle: all.find(({ kind }) => kind === 'verdict-lost')?.cycle })).items.every(({ revision }) => revision === 2)).toBe(true);
    expect(await kinds({ revision: 1 })).toContain('place');
    expect(await kinds({ revision: 1 })).not.toContain('move');
    await database.pool.query(`update dory.events set at = now() - interval '2 hours' where kind = 'place'`);
    expect(await kinds({ since: '1h' })).not.toContain('place');
    expect((await inPages(eventsList, 3)).map(({ id }) => id)).toEqual(all.map(({ id }) => id));
    expect(await refusal(eventsList, { continue: '-1' })).toBe('invalid-input');
  });
});
