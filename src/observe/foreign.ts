import type { PoolClient } from 'pg';
import type { Fleet } from '../model/fleet.ts';
import { byText, type ProcessorId } from '../model/ids.ts';
import type { Observed } from '../model/observed.ts';
import type { Foreign, Snapshot } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';

/** What people said of who has which processor: rows of `dory.handovers`. */
export interface Handovers {
  /** Of all that have no row of their own. */
  readonly fleet: Handover | null;
  readonly processors: ReadonlyMap<ProcessorId, Handover>;
}

interface Handover {
  readonly towards: 'ours' | 'theirs';
  readonly by: string;
  readonly at: Instant;
}

export async function readHandovers(client: Pick<PoolClient, 'query'>): Promise<Handovers> {
  const { rows } = await client.query<Omit<Handover, 'at'> & { subject: string; at: string }>(`select subject, towards, asked_by as by, ${ms('asked_at')} as at from dory.handovers`);
  const entries = rows.map(({ subject, towards, by, at }) => [subject, { towards, by, at: instant(Number(at)) }] as const);
  const prefix = 'processor/';
  return {
    fleet: entries.find(([subject]) => subject === 'fleet')?.[1] ?? null,
    processors: new Map(entries.filter(([subject]) => subject.startsWith(prefix)).map(([subject, row]) => [subject.slice(prefix.length) as ProcessorId, row])),
  };
}

export interface ForeignFacts extends Pick<Snapshot, 'placements' | 'retired'> {
  readonly fleet: Pick<Fleet, 'processors' | 'quarantined'>;
  readonly handovers: Handovers;
  /** Processors with a pod that bears no epoch; null without a cluster. */
  readonly bare: Observed<ReadonlySet<ProcessorId>> | null;
}

/** What the system that ran here before has, or may have. Where nobody handed anything over and nothing of it is left, this costs nothing. */
export function foreignOf(facts: ForeignFacts): readonly Foreign[] {
  const found = new Map<ProcessorId, Foreign>();
  for (const each of [...unseenOf(facts), ...askedSinceOf(facts), ...leftOf(facts), ...handedBackOf(facts)]) found.set(each.processorId, each);
  return [...found.values()].sort((a, b) => byText(a.processorId, b.processorId));
}

/** While the cluster gives no news: what we placed once was taken over then, if there was anything to take over; unless it was handed back since. */
function unseenOf(facts: ForeignFacts): readonly Foreign[] {
  const { placements, retired, bare } = facts;
  if (bare?.known !== false) return [];
  // Why a row was removed last is not kept: it may have been the other system's by then.
  const ours = new Set(handed(facts) ? runningOf(facts) : [...placements, ...retired].map(({ processorId }) => processorId));
  return idsOf(facts).filter((id) => !ours.has(id)).map((processorId) => ({ processorId, why: 'unseen', by: null }));
}

/** What was asked for again after the last look at its pods: until a person asked, the other system may have started it. */
function askedSinceOf(facts: ForeignFacts): readonly Foreign[] {
  const { bare, handovers: { fleet, processors } } = facts;
  if (bare?.known !== true || !handed(facts)) return [];
  const ours = new Set(runningOf(facts));
  const isLater = (said: Handover | null): boolean => said?.towards === 'ours' && said.at >= bare.at;
  return idsOf(facts).filter((id) => !ours.has(id) && isLater(processors.get(id) ?? fleet)).map((processorId) => ({ processorId, why: 'unseen', by: null }));
}

/** Beside what we run it is a second writer: a person's matter, and told. */
function leftOf(facts: ForeignFacts): readonly Foreign[] {
  const { bare } = facts;
  if (bare?.known !== true || bare.value.size === 0) return [];
  const ours = new Set(runningOf(facts));
  // A label is what somebody wrote; ids of rows are in lower case.
  const ids = [...bare.value].map((label) => label.toLowerCase() as ProcessorId);
  return ids.map((processorId) => ({ processorId, why: ours.has(processorId) ? 'beside' : 'left', by: null }));
}

function handedBackOf(facts: ForeignFacts): readonly Foreign[] {
  const { fleet, processors } = facts.handovers;
  const asked = fleet?.towards === 'theirs' ? idsOf(facts) : [...processors.keys()];
  return asked.flatMap((processorId) => {
    const said = processors.get(processorId) ?? fleet;
    return said?.towards === 'theirs' ? [{ processorId, why: 'handed-back', by: said.by } as const] : [];
  });
}

function handed({ handovers: { fleet, processors } }: ForeignFacts): boolean {
  return fleet !== null || processors.size > 0;
}

/** What stops may have been handed back while it did: it does not start again beside what was started since. */
function runningOf({ placements }: ForeignFacts): readonly ProcessorId[] {
  return placements.filter(({ phase }) => phase === 'active').map(({ processorId }) => processorId);
}

function idsOf({ fleet }: ForeignFacts): readonly ProcessorId[] {
  return [...fleet.processors, ...fleet.quarantined].map(({ id }) => id);
}
