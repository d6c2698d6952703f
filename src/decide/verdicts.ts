import type { PoolClient } from 'pg';
import type { RevisionId } from '../model/ids.ts';
import type { NodeVerdict } from '../model/snapshot.ts';
import type { Instant } from '../model/time.ts';

/** Those that the running system's tables are told. */
const told = `'healthy', 'returning', 'silent', 'detached', 'lost'`;

/**
 * Records verdicts that changed, tells `edge_nodes.status`, and leaves an event in both logs. Of failed nodes the running system
 * knows one kind, so its readers find each of them `offline`: lost, silent or detached, nothing should be sent there.
 */
export async function writeVerdicts(client: PoolClient, at: Instant, transitions: readonly NodeVerdict[], revision: RevisionId | null): Promise<void> {
  if (transitions.length === 0) return;
  const json = JSON.stringify(transitions);
  await client.query(
    `insert into dory.node_verdicts (node_id, verdict, since, flaps, reason, evidence)
     select "nodeId", verdict, to_timestamp(since / 1000), flaps, reason, evidence
       from jsonb_to_recordset($1::jsonb) as r ("nodeId" uuid, verdict text, since float8, flaps integer, reason text, evidence jsonb)
     on conflict (node_id) do update
        set verdict = excluded.verdict, since = excluded.since, flaps = excluded.flaps, reason = excluded.reason, evidence = excluded.evidence`,
    [json],
  );
  await client.query(
    `update edge_nodes n set status = r.status
       from (select "nodeId", case when verdict in ('healthy', 'returning') then 'online' else 'offline' end as status
               from jsonb_to_recordset($1::jsonb) as v ("nodeId" uuid, verdict text)
              where verdict in (${told})) r
      where n.id = r."nodeId" and n.status <> 'decommissioned' and n.status is distinct from r.status`,
    [json],
  );
  await client.query(
    `insert into dory.events (at, kind, node_id, reason, evidence, revision)
     select to_timestamp($2::float8 / 1000), 'verdict-' || verdict, "nodeId", reason, evidence, $3
       from jsonb_to_recordset($1::jsonb) as r ("nodeId" uuid, verdict text, reason text, evidence jsonb)`,
    [json, at, revision],
  );
  await client.query(
    `insert into edge_node_events (edge_node_id, event_type, details, created_at)
     select n.id, 'node_' || r.verdict, r.evidence || jsonb_build_object('reason', r.reason), to_timestamp($2::float8 / 1000)
       from jsonb_to_recordset($1::jsonb) as r ("nodeId" uuid, verdict text, reason text, evidence jsonb)
       join edge_nodes n on n.id = r."nodeId"
      where r.verdict in (${told})`,
    [json, at],
  );
}
