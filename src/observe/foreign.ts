import type { PoolClient } from 'pg';
import type { Fleet } from '../model/fleet.ts';
import { byText, type ProcessorId } from '../model/ids.ts';
import type { Observed } from '../model/observed.ts';
import type { Foreign, Snapshot } from '../model/snapshot.ts';

/** What people said of who has which processor: rows of `dory.handovers`. */
export interface Handovers {
  /** Of all that have no row of their own. */
  readonly fleet: Handover | null;
  readonly processors: ReadonlyMap<ProcessorId, Handover>;
}

interface Handover {
  readonly towards: 'ours' | 'theirs';
  readonly by: string;
}

export async function readHandovers(client: Pick<PoolClient, 'query'>): Promise<Handovers> {
  const { rows } = await client.query<Handover & { subject: string }>('select subject, towards, asked_by as by from dory.handovers');
  const entries = rows.map(({ subject, towards, by }) => [subject, { towards, by }] as const);
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
export function foreignOf({ fleet, placements, retired, handovers, bare }: ForeignFacts): readonly Foreign[] {
  const found = new Map<ProcessorId, Foreign>();
  const put = (processorId: ProcessorId, why: Foreign['why'], by: string | null): void => { found.set(processorId, { processorId, why, by }); };
  const ids = (): readonly ProcessorId[] => [...fleet.processors, ...fleet.quarantined].map(({ id }) => id);
  if (bare?.known === false) {
    // What we placed once was taken over then, if there was anything to take over.
    const ours = new Set([...placements, ...retired].map(({ processorId }) => processorId));
    for (const id of ids()) if (!ours.has(id)) put(id, 'unseen', null);
  }
  if (bare?.known === true && bare.value.size > 0) {
    const runs = new Set(placements.filter(({ reason }) => reason !== 'handed-back').map(({ processorId }) => processorId));
    for (const label of bare.value) {
      // A label is what somebody wrote; ids of rows are in lower case.
      const id = label.toLowerCase() as ProcessorId;
      if (!runs.has(id)) put(id, 'left', null);
    }
  }
  const theirs = (id: ProcessorId): Handover | null => {
    const said = handovers.processors.get(id) ?? handovers.fleet;
    return said?.towards === 'theirs' ? said : null;
  };
  const asked = handovers.fleet?.towards === 'theirs' ? ids() : [...handovers.processors.keys()];
  for (const id of asked) {
    const said = theirs(id);
    if (said !== null) put(id, 'handed-back', said.by);
  }
  return [...found.values()].sort((a, b) => byText(a.processorId, b.processorId));
}
