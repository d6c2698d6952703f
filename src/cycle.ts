import type { Decision } from './decide/decide.ts';
import type { Plan } from './model/plan.ts';
import type { Snapshot } from './model/snapshot.ts';
import { earliest, type Instant } from './model/time.ts';
import { plan } from './plan/plan.ts';
import { firstSlice } from './plan/slice.ts';
import type { Publication, Rendered } from './publisher.ts';

/**
 * One cycle: observe → plan → decide → render → commit. Apply follows the committed bytes at its own pace: Argo CD does it, or our own loop
 * beside the cycles (`cli/applying.ts`; in `reconcile`, after the one).
 *
 * Each step is derived from what the one before it stored, never from memory: what was decided and not committed, by
 * this cycle or by one that died, is committed here. With nothing to do, nothing is written and no git process runs.
 */
export interface Stages {
  /** One consistent snapshot; writes nothing. */
  observe(): Promise<Snapshot>;
  /** The decision as rows, all or none. Does nothing where the plan asks for nothing. */
  decide(snapshot: Snapshot, planned: Plan): Promise<Decision>;
  /** Files that the remote lacks; null if it lacks none. */
  render(): Promise<Rendered | null>;
  /** Those files on the remote, as one commit. */
  commit(rendered: Rendered): Promise<Publication>;
  /** Told after each step, for metrics and for tests that end the process right there. */
  onStep?(step: Step, report: Partial<CycleReport>): void;
}

export type Step = 'observed' | 'planned' | 'decided' | 'rendered' | 'committed';

export interface CycleReport {
  readonly snapshot: Snapshot;
  readonly planned: Plan;
  readonly decision: Decision;
  /** Null if there was nothing to publish. */
  readonly publication: Publication | null;
}

export async function cycle(stages: Stages): Promise<CycleReport> {
  const snapshot = await stages.observe();
  stages.onStep?.('observed', { snapshot });

  const planned = firstSlice(plan(snapshot));
  stages.onStep?.('planned', { planned });

  const decision = await stages.decide(snapshot, planned);
  stages.onStep?.('decided', { decision });

  const rendered = await stages.render();
  stages.onStep?.('rendered', {});

  const publication = rendered === null ? null : await stages.commit(rendered);
  stages.onStep?.('committed', { publication });

  return { snapshot, planned, decision, publication };
}

/** Whether the next cycle goes on where this one stopped: first placements of a large fleet are decided slice by slice. */
export function goesOn({ snapshot, planned }: CycleReport): boolean {
  return planned.changes.length > 0 && planned.wakeAt !== null && planned.wakeAt <= snapshot.at;
}

/** When the next cycle is due although nobody calls for it, by the database's clock; null if only the poll is. */
export function nextWake({ planned, publication }: CycleReport): Instant | null {
  return earliest(planned.wakeAt, publication?.kind === 'postponed' ? publication.until : null);
}
