import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import { parseBeat, type Beat } from '../../../src/http/heartbeat.ts';
import { defaultIntakeSettings, intakeConnection, type IntakeSettings } from '../../../src/http/intake.ts';
import { seconds } from '../../../src/model/time.ts';
import { createPool } from '../../../src/platform/pg.ts';

/** A machine that does much else may take longer than agents would wait: what is too late is a matter of tests that say so. */
const unhurried = seconds(30);
export const intakeSettings: IntakeSettings = { ...defaultIntakeSettings, writeTimeout: unhurried, lease: seconds(30), writeNodesEvery: seconds(1) };

/** To be ended by the caller. */
export function intakePool(url: string): Pool {
  return createPool(url, { ...intakeConnection, statementTimeoutMs: unhurried, connectTimeoutMs: unhurried, applicationName: 'dory-test-heartbeats' });
}

/** Rows for tests of the HTTP side, written as an operator and a decision would have left them. */
export interface TestFleet {
  /** @returns the new node's id. */
  node(name: string, options?: { readonly status?: string; readonly organizationId?: string | null }): Promise<string>;
  /** @returns the new processor's id. */
  processor(status?: string): Promise<string>;
  /** `nodeId` null: the managed pool. */
  place(processorId: string, nodeId: string | null, options?: { readonly epoch?: number; readonly phase?: 'active' | 'stopping' }): Promise<void>;
  verdict(nodeId: string, verdict: string): Promise<void>;
  lastHeartbeat(nodeId: string): Promise<Date | null>;
  beat(processorId: string): Promise<StoredBeat | undefined>;
  row(processorId: string): Promise<ProcessorRow>;
}

interface StoredBeat {
  readonly epoch: string;
  readonly status: string | null;
  readonly node_id: string | null;
  readonly stop_acknowledged_at: Date | null;
  readonly sdk_epoch: string | null;
  readonly role: string | null;
  readonly last_state_sync: Date | null;
  readonly state_size_bytes: string | null;
  readonly uptime_sec: number | null;
  readonly last_beat_at: Date;
  readonly lease_until: Date | null;
}

interface ProcessorRow {
  readonly status: string;
  readonly health_status: unknown;
  readonly last_health_check_at: Date | null;
  readonly consecutive_failures: number;
  readonly updated_at: Date;
}

export async function testFleet(pool: Pool): Promise<TestFleet> {
  const template = await insert(pool, `insert into processor_templates (slug, name) values ($1, 'A') returning id`, [randomUUID()]);
  await pool.query(
    `insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values (1, now(), 1, 'test', '', '') on conflict do nothing`,
  );
  return {
    node: (name, { status = 'online', organizationId = null } = {}) =>
      insert(pool, `insert into edge_nodes (name, status, organization_id) values ($1, $2, $3) returning id`, [name, status, organizationId]),
    processor: (status = 'running') =>
      insert(pool, `insert into processors (processor_template_id, status, updated_at) values ($1, $2, '2001-01-01Z') returning id`, [template, status]),
    place: async (processorId, nodeId, { epoch = 1, phase = 'active' } = {}) => {
      await pool.query(
        `insert into dory.placements (processor_id, epoch, target_kind, target_node_id, target_node_name, phase, reason, since, spec_digest, revision)
         values ($1, $3, case when $2::uuid is null then 'managed' else 'edge' end, $2, (select name from edge_nodes where id = $2), $4, 'first-placement', now(), '', 1)
         on conflict (processor_id) do update set epoch = excluded.epoch, target_kind = excluded.target_kind,
           target_node_id = excluded.target_node_id, target_node_name = excluded.target_node_name, phase = excluded.phase`,
        [processorId, nodeId, epoch, phase],
      );
    },
    verdict: async (nodeId, verdict) => {
      await pool.query(`insert into dory.node_verdicts values ($1, $2, now(), 'heartbeat-stale', '{}')`, [nodeId, verdict]);
    },
    lastHeartbeat: async (nodeId) =>
      (await pool.query<{ at: Date | null }>('select last_heartbeat_at as at from edge_nodes where id = $1', [nodeId])).rows[0]?.at ?? null,
    beat: async (processorId) =>
      (await pool.query<StoredBeat>('select * from dory.beats where processor_id = $1', [processorId])).rows[0],
    row: async (processorId) => {
      const { rows } = await pool.query<ProcessorRow>(
        'select status, health_status, last_health_check_at, consecutive_failures, updated_at from processors where id = $1',
        [processorId],
      );
      if (rows[0] === undefined) throw new Error('no such processor');
      return rows[0];
    },
  };
}

/** A beat as it comes in over HTTP. */
export function beatOf(body: Readonly<Record<string, unknown>>): Beat {
  const parsed = parseBeat({ status: 'healthy', ...body });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.value;
}

async function insert(pool: Pool, sql: string, values: readonly unknown[]): Promise<string> {
  const { rows } = await pool.query<{ id: string }>(sql, [...values]);
  if (rows[0] === undefined) throw new Error('nothing inserted');
  return rows[0].id;
}
