import type { ProcessorId } from '../../src/model/ids.ts';
import type { Approval } from '../../src/model/snapshot.ts';
import type { World } from './world.ts';

/** What people are asked for is seen after so long, and done; before calm, only sometimes. */
const lookEveryMs = 15_000;
const approvalLastsMs = 120_000;

/** Operators: they read the holds, see to it that what they confirm is true, approve, and forgive flaps once all is calm. */
export function schedulePeople(world: World): void {
  const loop = (): void => {
    world.kernel.after(lookEveryMs, loop);
    const calm = world.kernel.now >= world.script.calmAt;
    if (world.database.up && (calm || (world.script.staffed && world.kernel.random.chance(0.3)))) act(world, calm);
  };
  world.kernel.after(lookEveryMs, loop);
  world.kernel.at(world.script.calmAt, () => {
    for (const [node, verdict] of world.database.rows.verdicts) world.database.rows.verdicts.set(node, { ...verdict, flaps: 0 });
  });
}

function act(world: World, calm: boolean): void {
  const { rows, clock } = world.database;
  const asked = [...rows.holds].filter(([, { needsPerson, since }]) => needsPerson && clock - since > 10_000);
  for (const [processor, { reason }] of asked) answer(world, processor, reason, calm);
  for (const [processor, { epoch }] of rows.confirmations) {
    if (rows.holds.has(processor) || rows.placements.get(processor)?.epoch !== epoch) continue;
    for (const machine of world.machines.values()) machine.exhume(processor);
  }
  if (asked.some(([, { reason }]) => reason === 'guard-frozen')) approve(world, 'guard', asked.filter(([, { reason }]) => reason === 'guard-frozen').map(([name]) => name));
  if (asked.some(([, { reason }]) => reason === 'budget-exceeded')) approve(world, 'budget', null);
  if (rows.desired.size === 0) approve(world, 'empty-result', null);
  if (asked.length > 0) world.wakeAll();
}

function answer(world: World, processor: string, reason: string, calm: boolean): void {
  const { rows, clock } = world.database;
  const placement = rows.placements.get(processor);
  switch (reason) {
    case 'policy-manual': approve(world, `move/${processor}`, null); return;
    case 'failback-manual': approve(world, `failback/${processor}`, null); return;
    case 'fence-unheard': case 'fence-overdue': case 'unfenced-held':
      if (placement === undefined || !(calm || world.kernel.random.chance(0.5))) return;
      // Who vouches for a stop has seen to it: on every machine, and for every earlier epoch.
      for (const machine of world.machines.values()) machine.bury(processor, placement.epoch);
      rows.confirmations.set(processor, { epoch: placement.epoch, at: clock });
      world.checks.tell(`ada confirms the stop of ${processor} e${String(placement.epoch)}`);
      return;
    default:
  }
}

function approve(world: World, subject: string, covers: readonly string[] | null): void {
  const { rows, clock } = world.database;
  const approval: Approval = { subject, by: 'ada', at: clock, covers: covers === null ? null : ([...covers].sort() as ProcessorId[]) };
  rows.approvals.set(subject, approval);
  world.kernel.after(approvalLastsMs, () => { if (rows.approvals.get(subject) === approval) rows.approvals.delete(subject); });
}
