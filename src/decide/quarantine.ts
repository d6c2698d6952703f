import type { PoolClient } from 'pg';
import type { Quarantined } from '../model/fleet.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Instant } from '../model/time.ts';
import { canonicalJson } from '../platform/digest.ts';
import type { Recorded } from './recorded.ts';

export interface QuarantineChanges {
  readonly none: boolean;
  /** New in quarantine, or there for other reasons than before. */
  readonly entered: readonly Quarantined[];
  readonly released: readonly ProcessorId[];
}

export function quarantineChanges({ quarantined: recorded }: Recorded, quarantined: readonly Quarantined[]): QuarantineChanges {
  const now = new Set(quarantined.map(({ id }) => id));
  const entered = quarantined.filter(({ id, problems }) => {
    const before = recorded.get(id);
    return before === undefined || canonicalJson(before) !== canonicalJson(problems);
  });
  const released = [...recorded.keys()].filter((id) => !now.has(id));
  return { none: entered.length === 0 && released.length === 0, entered, released };
}

export async function writeQuarantine(client: PoolClient, at: Instant, { entered, released }: QuarantineChanges): Promise<void> {
  if (entered.length > 0) {
    const json = JSON.stringify(entered.map(({ id, problems }) => ({ id, problems })));
    await client.query(
      `with rows as (select id, problems from jsonb_to_recordset($1::jsonb) as r (id uuid, problems jsonb)),
            kept as (insert into dory.quarantine (processor_id, since, problems) select id, to_timestamp($2::float8 / 1000), problems from rows
                     on conflict (processor_id) do update set problems = excluded.problems)
       insert into dory.events (at, kind, processor_id, evidence)
       select to_timestamp($2::float8 / 1000), 'quarantined', id, jsonb_build_object('problems', problems) from rows`,
      [json, at],
    );
  }
  if (released.length > 0) {
    await client.query(
      `with gone as (delete from dory.quarantine where processor_id = any($1::uuid[]) returning processor_id)
       insert into dory.events (at, kind, processor_id) select to_timestamp($2::float8 / 1000), 'released', processor_id from gone`,
      [released, at],
    );
  }
}
