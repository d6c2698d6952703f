import type { z } from 'zod';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { Failure } from '../../../src/model/failure.ts';
import { eventsList } from '../../../src/operator/events-view.ts';
import { explain } from '../../../src/operator/explain.ts';
import { history } from '../../../src/operator/history.ts';
import { nodesList, type NodeItem } from '../../../src/operator/nodes-view.ts';
import { runOperation, type Operation, type OperatorContext } from '../../../src/operator/operation.ts';
import { processorsList } from '../../../src/operator/processors-view.ts';
import { status } from '../../../src/operator/status-view.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

let fleet: SmallFleet;
let context: OperatorContext;

/** A fleet with one failover behind it. */
beforeAll(async () => {
  fleet = await openSmallFleet();
  context = operatorContext(fleet.runtime, fleet.engine.repository);
  await fleet.once();
  await fleet.age(61_000, 'edge-1');
  await fleet.once();
  await fleet.pool.query(`
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

afterAll(() => fleet.close());

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

describe('roll-outs', () => {
  const one = async (operation: Operation, input: object = {}): Promise<unknown> => operation.output.parse(await runOperation(context, operation, input, { name: 'test' }));

  it('are nothing to tell of where no cluster was ever looked at', async () => {
    expect(await one(status)).toMatchObject({ rollouts: null });
    expect((await list(processorsList)).items[0]).toMatchObject({ rollout: null, pod: null, nodeIp: null });
    expect(await one(explain, { subject: '00000000-0000-4000-8000-0000000000c1' })).toMatchObject({ processor: { rollout: null } });
    expect((await list(history)).items[0]).toMatchObject({ liveAt: null, liveMs: null });
  });

  it('are counted, and those that failed are told in the words of the cluster', async () => {
    await fleet.pool.query(`
      insert into dory.rollouts (processor_id, epoch, revision, state, reason, evidence)
        select processor_id, epoch, revision, 'failed', 'image-pull', '{"node": "pool-1", "namespace": "default", "pod": "camera-0", "words": "manifest unknown"}'::jsonb from dory.placements where processor_id::text like '%c1'
        union all select processor_id, epoch, revision, 'live', null, '{}' from dory.placements where processor_id::text like '%c3'
        -- Of an earlier revision: the newer one is under way.
        union all select processor_id, epoch, revision - 1, 'live', null, '{}' from dory.placements where processor_id::text like '%c2';
      update dory.revisions set live_at = committed_at + interval '4 seconds' where id = 2;
      update processors set k8s_pod_name = 'camera-0', node_ip = '10.0.0.1' where id::text like '%c1'`);
    const why = "its image can't be pulled on pool-1: manifest unknown";
    const mend = 'kubectl --namespace default describe pod camera-0';
    expect(await one(status)).toMatchObject({ rollouts: { live: 1, of: 3, failed: 1, failures: [{ processor: '00000000-0000-4000-8000-0000000000c1', target: 'managed', reason: 'image-pull', why, mend }] } });
    expect((await list(processorsList)).items).toMatchObject([{ rollout: 'failed', rolloutWhy: why, pod: 'camera-0', nodeIp: '10.0.0.1' }, { rollout: 'progressing', rolloutWhy: null }, { rollout: 'live' }]);
    expect(await one(explain, { subject: '00000000-0000-4000-8000-0000000000c1' })).toMatchObject({ processor: { rollout: { state: 'failed', reason: 'image-pull', why, mend } } });
    expect(await one(explain, { subject: '00000000-0000-4000-8000-0000000000c2' })).toMatchObject({ processor: { rollout: { state: 'progressing', since: null, why: null } } });
    expect((await list(history)).items[0]).toMatchObject({ revision: 2, liveMs: 4_000 });
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

  it('tell of a hold that is over by its name: its numbers were of then', async () => {
    await fleet.pool.query(`insert into dory.events (kind, processor_id, reason, evidence) values ('hold-ended', '00000000-0000-4000-8000-0000000000c2', 'waiting-for-stability', '{}')`);
    expect((await list(eventsList, { kind: 'hold-ended' })).items[0]).toMatchObject({ why: 'no longer waiting-for-stability' });
    await fleet.pool.query(`delete from dory.events where kind = 'hold-ended'`);
  });

  it('can be asked for by node, processor, kind, cycle, revision and age, and page by page', async () => {
    const kinds = async (input: object): Promise<string[]> => [...new Set((await list(eventsList, input)).items.map(({ kind }) => kind))].sort();
    const all = (await list(eventsList)).items;
    expect(await kinds({ node: 'edge-1', kind: 'verdict' })).toEqual(['verdict-healthy', 'verdict-lost']);
    expect(await kinds({ processor: '00000000-0000-4000-8000-0000000000c1', kind: 'move' })).toEqual(['move']);
    expect((await list(eventsList, { cycle: all.find(({ kind }) => kind === 'verdict-lost')?.cycle })).items.every(({ revision }) => revision === 2)).toBe(true);
    expect(await kinds({ revision: 1 })).toContain('place');
    expect(await kinds({ revision: 1 })).not.toContain('move');
    await fleet.pool.query(`update dory.events set at = now() - interval '2 hours' where kind = 'place'`);
    expect(await kinds({ since: '1h' })).not.toContain('place');
    expect((await inPages(eventsList, 3)).map(({ id }) => id)).toEqual(all.map(({ id }) => id));
    expect(await refusal(eventsList, { continue: '-1' })).toBe('invalid-input');
  });
});
