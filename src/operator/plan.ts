import { z } from 'zod';
import type { ProcessorId, RevisionId } from '../model/ids.ts';
import type { ManifestInput } from '../model/placement.ts';
import { placementAfter, type Change, type Plan } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { readManifestInputs } from '../observe/manifest-inputs.ts';
import { plan } from '../plan/plan.ts';
import type { ChartSettings } from '../render/props.ts';
import { manifestDiff } from './diff.ts';
import { operation } from './operation.ts';

/** A plan with what a person reads beside it. */
export interface PlanDocument extends Plan {
  /** The template's slug of each processor in the plan. */
  readonly names: Readonly<Record<string, string>>;
  /** Of the first changes, in their order. */
  readonly diffs: readonly { readonly processorId: ProcessorId; readonly diff: string }[];
}

const evidence = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));
const rejected = z.array(z.looseObject({ target: z.looseObject({ kind: z.string() }), reason: z.string(), evidence }));
const ms = z.number().describe('Milliseconds since 1970.');
const document = z.object({
  at: ms,
  verdicts: z.array(z.looseObject({ nodeId: z.string(), verdict: z.string(), since: ms, reason: z.string(), evidence })),
  transitions: z.array(z.looseObject({ nodeId: z.string(), verdict: z.string() })).describe('Verdicts that differ from what is recorded.'),
  changes: z.array(z.looseObject({ kind: z.string(), processorId: z.string(), reason: z.string(), evidence, rejected })),
  holds: z.array(z.looseObject({ processorId: z.string(), reason: z.string(), evidence, rejected, needsPerson: z.boolean() })).describe('What should happen, and does not.'),
  refusals: z.array(z.looseObject({ subject: z.string(), reason: z.string(), evidence })).describe('Holds on everything.'),
  guard: z.looseObject({ state: z.string(), reason: z.string(), evidence }),
  quarantined: z.array(z.looseObject({ id: z.string() })),
  wakeAt: ms.nullable().describe('When time alone could change this plan.'),
  names: z.record(z.string(), z.string()).describe("The template's slug of each processor."),
  diffs: z.array(z.object({ processorId: z.string(), diff: z.string() })).describe('Of the manifests of the first changes, unified.'),
  // A plan is plain JSON: what the schema says is a part of what the type says.
}) as unknown as z.ZodType<PlanDocument>;

const bounds = { error: 'give a whole number from 0 to 1000' };

export const planNow = operation({
  name: 'plan',
  method: 'GET',
  path: '/api/v1/plan',
  summary: 'what a cycle would change now, and why; changes nothing',
  changesState: false,
  input: z.strictObject({
    diffs: z.int(bounds).min(0, bounds).max(1000, bounds).default(10).describe('Of how many manifests the diff is shown.'),
  }),
  output: document,
  run: async (context, { diffs }) => {
    const snapshot = await context.observe();
    const planned = plan(snapshot);
    const edited = planned.changes.some(({ before }) => before !== null);
    const inputs = edited ? (await readManifestInputs(context.pool, 0)).changed : [];
    return planDocument({ snapshot, planned, before: new Map(inputs.map((input) => [input.spec.id, input])) }, diffs, context.manifests);
  },
});

/** What is planned, and what it is compared with. */
interface Preview {
  readonly snapshot: Snapshot;
  readonly planned: Plan;
  /** What is rendered now. */
  readonly before: ReadonlyMap<ProcessorId, ManifestInput>;
}

export function planDocument(preview: Preview, diffs: number, settings: ChartSettings): PlanDocument {
  const { planned } = preview;
  const inputs = inputsOf(preview);
  const named = [...planned.changes, ...planned.holds].map(({ processorId }) => [processorId, inputs.get(processorId)?.workload.slug ?? 'processor'] as const);
  return {
    ...planned,
    names: Object.fromEntries(named),
    diffs: planned.changes.slice(0, diffs).map((change) => ({ processorId: change.processorId, diff: diffOf(change, preview, inputs, settings) })),
  };
}

export type Inputs = ReadonlyMap<ProcessorId, Omit<ManifestInput, 'placement'>>;

/** What each processor would be rendered from, without its placement; of those that are removed, what they were. */
export function inputsOf({ snapshot: { fleet }, before }: Pick<Preview, 'snapshot' | 'before'>): Inputs {
  const workloads = new Map(fleet.workloads.map((workload) => [workload.digest, workload]));
  const inputs = new Map<ProcessorId, Omit<ManifestInput, 'placement'>>(before);
  for (const spec of [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])]) {
    const workload = workloads.get(spec.workload);
    if (workload !== undefined) inputs.set(spec.id, { spec, workload });
  }
  return inputs;
}

function diffOf(change: Change, { snapshot, before }: Preview, inputs: Inputs, settings: ChartSettings): string {
  const input = inputs.get(change.processorId);
  // The number that the decision would get.
  const revision = (snapshot.placements.reduce((newest, placement) => Math.max(newest, placement.revision), 0) + 1) as RevisionId;
  const placement = placementAfter(change, revision, snapshot.at);
  const after = input === undefined || placement === null ? null : { ...input, placement };
  return manifestDiff(`${input?.workload.slug ?? 'processor'}/${change.processorId}`, before.get(change.processorId) ?? null, after, settings);
}
