import type { Outcome } from '../apply/actions.ts';
import { giveBack } from '../apply/hand-over.ts';
import type { ObjectRef } from '../apply/objects.ts';
import { inLanes } from '../apply/prepare.ts';
import { told, type ReportDocument } from './apply-report.ts';
import type { OpenApplier } from './applier.ts';

export interface HandOver {
  /** Whose our fields become, such as argocd-controller. */
  readonly manager: string;
  readonly dryRun: boolean;
  /** @throws Failure `not-leader` */
  readonly leading: () => Promise<void>;
}

/** So many objects between two questions for the lead: well within the time of a lease. */
const batch = 200;

/**
 * The way back: of every committed object that is on the cluster, our fields become the other manager's, and Dory has no claim left. What
 * its next apply lacks it then removes, as if it had always applied here.
 * @throws Failure as `ClusterObjects`; `not-leader`
 */
export async function handAllOver({ objects, committed }: Pick<OpenApplier, 'objects' | 'committed'>, options: HandOver): Promise<ReportDocument> {
  const { commit, revision, refs } = await committed();
  const outcomes: Outcome[] = [];
  let [requests, notOurs] = [0, 0];
  for (let from = 0; from < refs.length; from += batch) {
    await options.leading();
    const ended = await inLanes(refs.slice(from, from + batch), (ref) => handOne(objects, ref, options));
    for (const { outcome, sent } of ended) {
      requests += sent;
      if (outcome === null) notOurs += 1;
      else outcomes.push(outcome);
    }
  }
  const complete = outcomes.every(({ kind }) => kind === 'configured');
  return { commit, revision, complete, withheld: commit === null ? 'no-commit' : null, inSync: notOurs, requests, outcomes: outcomes.map(told) };
}

/** Null: it is not there, or nothing of it is ours. */
async function handOne(objects: OpenApplier['objects'], ref: ObjectRef, { manager, dryRun }: HandOver): Promise<{ readonly outcome: Outcome | null; readonly sent: number }> {
  const object = await objects.read(ref);
  const patch = object === null ? null : giveBack(object, { manager, apiVersion: ref.apiVersion });
  if (patch === null) return { outcome: null, sent: 1 };
  if (dryRun || (await objects.patch(ref, patch))) return { outcome: { kind: 'configured', ref, live: null }, sent: dryRun ? 1 : 2 };
  return { outcome: { kind: 'failed', ref, reason: 'precondition', detail: 'it changed meanwhile; run this again', retry: 'soon' }, sent: 2 };
}
