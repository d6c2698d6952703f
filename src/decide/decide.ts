import type { Pool, PoolClient } from 'pg';
import type { Workload } from '../model/fleet.ts';
import type { Digest, RevisionId } from '../model/ids.ts';
import { specsOf, type Plan } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Layout } from '../model/tree.ts';
import { assertLeader } from '../platform/leadership.ts';
import { inTransaction } from '../platform/pg.ts';
import { describeUpdates } from './describe.ts';
import { lookAgain, type ConditionOf } from './freshest.ts';
import { guardChanged, writeGuard } from './guard.ts';
import { holdChanges, writeHolds, type HoldChanges } from './holds.ts';
import { quarantineChanges, writeQuarantine, type QuarantineChanges } from './quarantine.ts';
import { readRecorded } from './recorded.ts';
import { refusalChanges, writeRefusals, type RefusalChanges } from './refusals.ts';
import { writeChanges } from './changes.ts';
import { writeVerdicts } from './verdicts.ts';

/**
 * The transaction: what was planned becomes rows, all of them or none. Git and the cluster follow from these rows alone.
 *
 * In order: assert that we lead; lock the state row, so that decisions are one after another; look once more at what
 * the moves rest on; write. A conflict (another decision came in between, a node spoke up) is a `Failure` of class `now`:
 * observe and plan again.
 */
export interface Decider {
  readonly pool: Pool;
  /** Asserted in the transaction: `dory.leader.epoch`. */
  readonly leaderEpoch: number;
  /** How the repository's folders are laid out; `auto` chooses by the size of the fleet, once. */
  readonly layout: Layout | 'auto';
  /** Name and version of the renderer, recorded with the revision. */
  readonly renderer: string;
  /** What the cluster says at the moment of writing; null without one. */
  readonly conditionOf: ConditionOf | null;
  /** The name of this cycle, recorded with its revision and its events. */
  readonly cycle: string;
}

export interface Decision {
  /** The revision that now has to reach Git; null if no manifest changes. */
  readonly revision: RevisionId | null;
  /** False if there was nothing to write; then no transaction was opened. */
  readonly wrote: boolean;
}

export async function decide(decider: Decider, snapshot: Snapshot, plan: Plan): Promise<Decision> {
  const recorded = await readRecorded(decider.pool);
  const standing = { quarantine: quarantineChanges(recorded, plan.quarantined), holds: holdChanges(recorded, plan), refusals: refusalChanges(recorded, plan) };
  const atRest = plan.changes.length === 0 && plan.transitions.length === 0 && standing.quarantine.none && standing.holds.none && standing.refusals.none;
  if (atRest && !guardChanged(snapshot.guard, plan.guard)) return { revision: null, wrote: false };
  return inTransaction(decider.pool, { isolation: 'read committed' }, async (client) => {
    await assertLeader(client, decider.leaderEpoch);
    // The default of both columns `cycle`, until the transaction ends.
    await client.query(`select set_config('dory.cycle', $1, true)`, [decider.cycle]);
    return write(client, decider, snapshot, plan, standing);
  });
}

/** What lasts beside the placements, as far as it changes. */
interface Standing {
  readonly quarantine: QuarantineChanges;
  readonly holds: HoldChanges;
  readonly refusals: RefusalChanges;
}

async function write(client: PoolClient, decider: Decider, snapshot: Snapshot, plan: Plan, { quarantine, holds, refusals }: Standing): Promise<Decision> {
  const previous = await lockState(client);
  await lookAgain(client, snapshot, plan, decider.conditionOf);
  let revision: RevisionId | null = null;
  if (plan.changes.length > 0) {
    revision = (previous + 1) as RevisionId;
    const specs = specsOf(snapshot.fleet, plan.changes);
    const workloads = new Map<Digest, Workload>(snapshot.fleet.workloads.map((workload) => [workload.digest, workload]));
    const changes = await describeUpdates(client, plan.changes, specs, workloads);
    await writeChanges(client, { revision, at: snapshot.at, changes, specs, workloads, leaderEpoch: decider.leaderEpoch, renderer: decider.renderer });
  }
  await writeVerdicts(client, snapshot.at, plan.transitions, revision);
  await writeQuarantine(client, snapshot.at, quarantine);
  await writeHolds(client, snapshot.at, holds, revision);
  await writeRefusals(client, snapshot.at, refusals, revision);
  if (guardChanged(snapshot.guard, plan.guard)) await writeGuard(client, snapshot.at, plan.guard, revision);
  if (revision !== null) {
    const layout = chooseLayout(decider.layout, snapshot);
    await client.query('update dory.state set version = version + 1, revision = $1, layout = coalesce(layout, $2)', [revision, layout]);
  }
  return { revision, wrote: true };
}

async function lockState(client: PoolClient): Promise<number> {
  const { rows } = await client.query<{ revision: string }>('select revision from dory.state for update');
  return Number(rows[0]?.revision ?? 0);
}

/**
 * An Argo CD Application should hold 500 to 1,000 objects, and Git's cost is the width of the directories touched: one
 * folder up to 1,000 processors, 64 up to 20,000 (about 300 each), 64 × 16 above (about 50 each at 50,000).
 */
export function chooseLayout(wanted: Layout | 'auto', { fleet }: Snapshot): Layout {
  if (wanted !== 'auto') return wanted;
  const size = fleet.processors.length + fleet.quarantined.length;
  if (size <= 1_000) return 'flat';
  return size <= 20_000 ? '64' : '64x16';
}
