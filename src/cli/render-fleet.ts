import type { RevisionId } from '../model/ids.ts';
import { placementAfter, type Change } from '../model/plan.ts';
import type { ManifestInput } from '../model/placement.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { plan } from '../plan/plan.ts';
import { summarize } from '../render/change.ts';
import { emptyRenderState, render, type Rendered } from '../render/render.ts';
import type { RenderSettings } from '../render/settings.ts';

/** The tree of a fleet that was written down, as one decision about it would leave it. No database, no Git. */
export function renderFleet(snapshot: Snapshot, settings: RenderSettings): Rendered {
  const { changes } = plan(snapshot);
  const revision = 1 as RevisionId;
  const head = { revision, trigger: changes[0]?.reason ?? 'none', decidedAt: snapshot.at };
  return render(emptyRenderState(settings), { revision, changed: inputsAfter(snapshot, changes, revision), removed: [], change: summarize(head, changes) });
}

/** What `decide` would record: placements as they are, with the changes made. */
function inputsAfter({ at, fleet, placements }: Snapshot, changes: readonly Change[], revision: RevisionId): readonly ManifestInput[] {
  const workloads = new Map(fleet.workloads.map((workload) => [workload.digest, workload]));
  const placed = new Map(placements.map((placement) => [placement.processorId, placement]));
  for (const change of changes) {
    const placement = placementAfter(change, revision, at);
    if (placement !== null) placed.set(change.processorId, placement);
  }
  return fleet.processors.flatMap((spec) => {
    const workload = workloads.get(spec.workload);
    const placement = placed.get(spec.id);
    return workload === undefined || placement === undefined ? [] : [{ spec, workload, placement }];
  });
}
