import type { Pool } from 'pg';
import { Failure } from '../model/failure.ts';
import type { ProcessorId } from '../model/ids.ts';

export interface KnownProcessor {
  readonly id: ProcessorId;
  /** `<slug>-<id12>`, as its file is named. */
  readonly name: string;
}

/**
 * Finds one processor by its id, the beginning of its id, or the name of its file.
 * @throws Failure `not-found` if none matches, or more than one
 */
export async function findProcessor(pool: Pool, text: string): Promise<KnownProcessor> {
  const { rows } = await pool.query<KnownProcessor>(
    `with known as (
       select p.id, t.slug from processors p join processor_templates t on t.id = p.processor_template_id
       union
       select c.processor_id, w.body ->> 'slug' from dory.changes c join dory.workloads w on w.digest = c.workload
     ), named as (
       select id, rtrim(left(slug, 30), '-') || '-' || left(encode(sha256(id::text::bytea), 'hex'), 12) as name from known
     )
     select distinct on (id) id, name from named
      where starts_with(id::text, lower($1)) or starts_with(name, $1)
      order by id, name limit 20`,
    [text.trim()],
  );
  const exact = rows.find(({ id, name }) => id === text || name === text);
  const found = exact ?? (rows.length === 1 ? rows[0] : undefined);
  if (found !== undefined) return found;
  if (rows.length === 0) {
    throw new Failure('not-found', `No processor matches "${text.slice(0, 80)}".`, { mend: 'Give its id, the beginning of its id, or its name as in `dory status -o wide`.' });
  }
  throw new Failure('not-found', `"${text.slice(0, 80)}" matches more than one processor: ${rows.slice(0, 5).map(({ name }) => name).join(', ')}${rows.length > 5 ? ', …' : ''}.`, {
    mend: 'Give more of it.',
  });
}
