import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RevisionId } from '../../../src/model/ids.ts';
import type { Placement } from '../../../src/model/placement.ts';
import { parseFleetFile } from '../../../src/observe/fleet-file.ts';
import { readManifestInputs } from '../../../src/observe/manifest-inputs.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { testPolicy } from '../../support/policy.ts';

const policy = testPolicy;
const { fleet, placements } = parseFleetFile(
  `placed: true
templates: [{ slug: app, version: "1", image: a/b:1, runtimeConfig: { env_vars: { TOKEN: abc, A: b } } }]
sensors: [{ name: cam, type: camera, connectionConfig: { fps: 5, password: x } }]
nodes: [{ name: edge-1 }]
processors: [{ name: p1, template: app, node: edge-1, sensor: cam }, { name: p2, template: app }]
`,
  { policy, defaultNamespace: 'default' },
);
const [workload] = fleet.workloads;
const [first, second] = placements;

let database: TestDatabase;
beforeEach(async () => {
  database = await testDatabase();
  await database.pool.query('insert into dory.workloads values ($1, $2)', [workload?.digest, JSON.stringify(workload)]);
});
afterEach(() => database.close());

/** A revision with one change of each of these placements; null for a removal of `first`. */
async function decide(revision: number, ...changed: (Placement | null)[]): Promise<void> {
  await database.pool.query("insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values ($1, now(), 1, 'first-placement', '', 'test')", [revision]);
  for (const placement of changed) {
    const id = placement?.processorId ?? first?.processorId;
    const spec = placement === null ? null : JSON.stringify(fleet.processors.find((each) => each.id === id));
    await database.pool.query(
      "insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, placement, spec, workload) values ($1, $2, $3, 'first-placement', '{}', '[]', $4, $5, $6)",
      [id, revision, placement === null ? 'remove' : 'update', placement === null ? null : JSON.stringify(placement), spec, placement === null ? null : workload?.digest],
    );
  }
}
const at = (placement: Placement | undefined, revision: number): Placement => ({ ...placement!, revision: revision as RevisionId });
const revision = (id: number): RevisionId => id as RevisionId;

test('a database without a revision has no inputs', async () => {
  expect(await readManifestInputs(database.pool, 0)).toEqual({ revision: 0, changed: [], removed: [] });
});

test('the newest inputs of each processor are read as they were written', async () => {
  await decide(1, at(first, 1), at(second, 1));
  await decide(2, at(second, 2));
  const { revision: newest, changed, removed } = await readManifestInputs(database.pool, 0);
  expect([newest, removed]).toEqual([2, []]);
  expect(changed).toEqual([at(first, 1), at(second, 2)].map((placement) => ({ spec: fleet.processors.find(({ id }) => id === placement.processorId), workload, placement })));
});

test('only what came after a revision is read, and nothing after another', async () => {
  await decide(1, at(first, 1), at(second, 1));
  await decide(2, at(second, 2));
  await decide(3, null);
  await decide(4, at(first, 4));
  const read = async (after: number, upTo?: number) => {
    const { revision: newest, changed, removed } = await readManifestInputs(database.pool, revision(after), upTo === undefined ? undefined : revision(upTo));
    return [newest, changed.map(({ placement }) => [placement.processorId, placement.revision]), removed];
  };
  const [a, b] = [first?.processorId, second?.processorId];
  expect(await read(1, 2)).toEqual([2, [[b, 2]], []]);
  expect(await read(1, 3)).toEqual([3, [[b, 2]], [a]]);
  expect(await read(1)).toEqual([4, [[a, 4], [b, 2]], []]);
  expect(await read(3)).toEqual([4, [[a, 4]], []]);
  expect(await read(4)).toEqual([4, [], []]);
});

test('processors of one workload share its object', async () => {
  await decide(1, at(first, 1), at(second, 1));
  const { changed } = await readManifestInputs(database.pool, 0);
  expect(changed[0]?.workload).toBe(changed[1]?.workload);
});

test('a record of another version is refused', async () => {
  await decide(1, at(first, 1));
  await database.pool.query("update dory.changes set spec = spec || '{\"newer\":true}'");
  await expect(readManifestInputs(database.pool, 0)).rejects.toMatchObject({ code: 'schema-incompatible' });
});
