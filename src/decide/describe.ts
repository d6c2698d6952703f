import type { PoolClient } from 'pg';
import type { ProcessorSpec, Workload } from '../model/fleet.ts';
import type { Digest, ProcessorId } from '../model/ids.ts';
import type { Change } from '../model/plan.ts';
import { canonicalJson } from '../platform/digest.ts';

/** Says of each update which fields differ from what was rendered last, since `plan` sees only that something does. */
export async function describeUpdates(
  client: PoolClient,
  changes: readonly Change[],
  specs: ReadonlyMap<ProcessorId, ProcessorSpec>,
  workloads: ReadonlyMap<Digest, Workload>,
): Promise<readonly Change[]> {
  const updates = changes.filter(({ kind }) => kind === 'update').map(({ processorId }) => processorId);
  if (updates.length === 0) return changes;
  const { rows } = await client.query<{ processor_id: ProcessorId; spec: ProcessorSpec; body: Workload }>(
    `select c.processor_id, c.spec, w.body
       from dory.placements p
       join dory.changes c on c.processor_id = p.processor_id and c.revision = p.revision
       join dory.workloads w on w.digest = c.workload
      where p.processor_id = any($1::uuid[])`,
    [updates],
  );
  const before = new Map(rows.map((row) => [row.processor_id, row]));
  return changes.map((change) => {
    const old = before.get(change.processorId);
    const spec = specs.get(change.processorId);
    const workload = spec && workloads.get(spec.workload);
    if (change.kind !== 'update' || old === undefined || spec === undefined || workload === undefined) return change;
    const fields = [...differences(old.body, workload, workloadFields), ...differences<ProcessorSpec>(old.spec, spec, ['namespace', 'sensor'])];
    if (fields.length === 0 && old.spec.secretVersions !== spec.secretVersions) {
      return { ...change, reason: 'secrets-rotated', evidence: { versions: spec.secretVersions ?? 'none' } };
    }
    return fields.length === 0 ? change : { ...change, evidence: { ...change.evidence, changed: fields.join(', ') } };
  });
}

const workloadFields = [
  'version', 'image', 'imagePullPolicy', 'command', 'args', 'port', 'resources', 'probes', 'env', 'shutdownTimeoutSec', 'stateBackend', 'architectures', 'security', 'slug',
] as const satisfies readonly (keyof Workload)[];

/** A version is worth its values; of the others the name is enough, the diff has the rest. */
function differences<T>(before: T, now: T, fields: readonly (keyof T & string)[]): string[] {
  return fields
    .filter((field) => canonicalJson(before[field]) !== canonicalJson(now[field]))
    .map((field) => (field === 'version' ? `version ${String(before[field])} → ${String(now[field])}` : field));
}
