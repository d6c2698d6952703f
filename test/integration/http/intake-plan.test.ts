import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { planOnce, writeBatch } from '../../../src/http/intake-sql.ts';
import { testDatabase } from '../../support/postgres.ts';
import { beatOf } from './fleet.ts';

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Cond'?: string;
  readonly 'TID Cond'?: string;
  readonly 'Plans'?: readonly PlanNode[];
}

test('the plan that is kept looks up rows, though it was made on tables that were analysed while they were empty', async () => {
  const db = await testDatabase();
  try {
    await db.pool.query('analyze');
    const client = await db.pool.connect();
    try {
      await client.query(planOnce);
      await writeBatch(client, [beatOf({ processor_id: randomUUID() })], { gapSec: 5, restartCoverage: false, leaseSec: 30, nodeSec: 1, timeoutMs: 10_000 });
      const { rows } = await client.query<{ 'QUERY PLAN': readonly { readonly Plan: PlanNode }[] }>(
        `explain (format json) execute "dory-heartbeats" (${Array.from({ length: 15 }, () => 'null').join(', ')})`,
      );
      // With PostgreSQL 15 to 17 and LLVM each batch would take seconds otherwise.
      expect((await client.query('show jit')).rows).toEqual([{ jit: 'off' }]);
      const reads = scans(rows[0]!['QUERY PLAN'][0]!.Plan);
      expect(reads.filter((node) => node['Relation Name'] === 'beats')).toEqual([]);
      expect(reads.map((node) => node['Relation Name'])).toEqual(expect.arrayContaining(['placements', 'processors', 'edge_nodes', 'node_verdicts']));
      const readWhole = reads.filter((node) => node['Index Cond'] === undefined && node['TID Cond'] === undefined);
      // Once a batch, for the names that are not the placement's.
      expect(readWhole.map((node) => node['Relation Name'])).toEqual(['edge_nodes']);
    } finally {
      client.release(true);
    }
  } finally {
    await db.close();
  }
});

function scans(node: PlanNode): readonly PlanNode[] {
  const own = node['Relation Name'] !== undefined && node['Node Type'].endsWith('Scan') ? [node] : [];
  return [...own, ...(node.Plans ?? []).flatMap(scans)];
}
