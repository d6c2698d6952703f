import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import { formatInstant, instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import type { Caller } from './operation.ts';
import type { Subject } from './subjects.ts';

/** A lock that holds. */
export interface HeldLock {
  readonly id: number;
  readonly scope: Subject['scope'];
  readonly subject: string;
  readonly name: string;
  readonly owner: string;
  readonly reason: string;
  readonly untilMs: number;
}

/**
 * Nothing else that minds locks, and no lock, comes between until the transaction ends: two that begin at once, or one
 * that begins while another acts, are one after the other.
 */
export async function holdLocksStill(client: PoolClient): Promise<void> {
  await client.query(`select pg_advisory_xact_lock(hashtextextended('dory.locks', 0))`);
}

/**
 * Locks that hold on the subject, on something it contains, or on something that contains it. A processor belongs to its
 * template, to its home, and to the node that it is placed on.
 */
async function locksAround(client: PoolClient, { scope, id }: Subject): Promise<readonly HeldLock[]> {
  const { rows } = await client.query<Omit<HeldLock, 'id' | 'untilMs'> & { id: string; until_ms: string }>(
    `select l.id, l.scope, l.subject, l.name, l.owner, l.reason, ${ms('l.expires_at')} as until_ms
       from dory.locks l
      where l.ended_at is null and l.expires_at > now() and (l.scope = $1 and l.subject = $2 or ${around[scope]})
      order by l.id`,
    [scope, id],
  );
  return rows.map(({ id: lock, until_ms: untilMs, ...row }) => ({ ...row, id: Number(lock), untilMs: Number(untilMs) }));
}

const around: Readonly<Record<Subject['scope'], string>> = {
  processor: `l.scope = 'node' and l.subject in (select node_id from processors where id = $2 union select target_node_id from dory.placements where processor_id = $2)
           or l.scope = 'template' and l.subject in (select processor_template_id from processors where id = $2)`,
  node: `l.scope = 'processor' and (exists (select from processors p where p.id = l.subject and p.node_id = $2)
           or exists (select from dory.placements p where p.processor_id = l.subject and p.target_node_id = $2))`,
  template: `l.scope = 'processor' and exists (select from processors p where p.id = l.subject and p.processor_template_id = $2)`,
};

/** @throws Failure `locked` if somebody else holds a lock in the way; says who, on what, until when */
export async function assertUnlocked(client: PoolClient, subject: Subject, caller: Caller): Promise<void> {
  await holdLocksStill(client);
  const [others] = (await locksAround(client, subject)).filter(({ owner }) => owner !== caller.name);
  if (others !== undefined) throw lockedBy(others);
}

/** The lock on exactly this subject, whoever holds it. @throws Failure `locked` if somebody else holds one on what is in it or around it */
export async function lockOn(client: PoolClient, subject: Subject, caller: Caller): Promise<HeldLock | null> {
  await holdLocksStill(client);
  const locks = await locksAround(client, subject);
  const own = locks.find((lock) => lock.scope === subject.scope && lock.subject === subject.id) ?? null;
  const inTheWay = locks.find((lock) => lock !== own && lock.owner !== caller.name);
  if (own === null && inTheWay !== undefined) throw lockedBy(inTheWay);
  return own;
}

export function lockedBy({ scope, name, owner, reason, untilMs }: HeldLock): Failure {
  return new Failure('locked', `${scope}/${name} is locked by ${owner} until ${formatInstant(instant(untilMs))}: ${reason}`, {
    mend: 'Ask its owner, or wait; `dory maintenance list` has all locks.',
  });
}
