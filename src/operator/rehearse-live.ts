import { setImmediate } from 'node:timers/promises';
import type { Snapshot } from '../model/snapshot.ts';
import { readAgents } from '../observe/placements.ts';
import { withClient } from '../platform/pg.ts';
import type { OperatorContext } from './operation.ts';
import type { Assumptions } from './rehearsal.ts';
import { rehearsing, type RehearsalOptions, type Rehearsed } from './rehearse.ts';

type LiveRehearsal = RehearsalOptions & { readonly assumed: Assumptions };

/** With what is known of the agents on the nodes that fail, which a snapshot of a healthy fleet leaves out. */
export async function rehearseLive({ pool }: OperatorContext, snapshot: Snapshot, { assumed, ...options }: LiveRehearsal): Promise<Rehearsed> {
  const told = await withClient(pool, (client) => readAgents(client, snapshot.placements, assumed.fail));
  const steps = rehearsing(snapshot, assumed, { ...options, told });
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    // Heartbeats and renewals of the lease come first.
    await setImmediate();
  }
}
