import type { EdgeNode, ProcessorSpec } from '../model/fleet.ts';
import type { Epoch, NodeId, ProcessorId } from '../model/ids.ts';
import { targetName, type Phase, type Placement, type Target } from '../model/placement.ts';
import type { Change, ChangeKind } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Shown } from './shown.ts';

/**
 * How a database that is behind catches up with what Git shows, as a value.
 *
 * What Git shows is what runs, so it is adopted: target, phase and epoch. What Git does not show any more was removed after the
 * backup, under an epoch that nobody can look up; but each revision raises an epoch by one at most, so the number of revisions
 * that are missing bounds it. Epochs that agents echo count as seen.
 */
export interface RepairPlan {
  /** Sorted by processor: adopted from Git, or removed with it. */
  readonly changes: readonly Change[];
  /** Sorted by processor: the next placement of each starts above this epoch. */
  readonly floors: readonly { readonly processorId: ProcessorId; readonly epoch: Epoch }[];
  /** What a person must see to before anything is done. */
  readonly problems: readonly RepairProblem[];
  /** Agents that echo an epoch above the one that Git shows. */
  readonly unexplained: readonly { readonly processorId: ProcessorId; readonly echoed: number; readonly shown: number }[];
}

interface RepairProblem {
  /** Of the processor, as its file is called. */
  readonly name: string;
  readonly problem: string;
  readonly mend: string;
}

export interface RepairInput {
  readonly snapshot: Pick<Snapshot, 'fleet' | 'placements'>;
  /** `dory.state.revision`. */
  readonly known: number;
  /** The newest revision that Git shows; 0 if none. */
  readonly shownRevision: number;
  readonly shown: readonly Shown[];
  /** The last good specs of placed processors that are desired no more. */
  readonly formerSpecs: ReadonlyMap<ProcessorId, ProcessorSpec>;
  /** The last epochs of processors that had a placement once: `dory.retired_epochs`. */
  readonly retired: ReadonlyMap<ProcessorId, number>;
  /** The highest epoch that an agent echoed, where it was above ours. */
  readonly echoed: ReadonlyMap<ProcessorId, number>;
  /** Processors that only Git knows go: their files are removed. */
  readonly dropUnknown: boolean;
}

export function planRepair(input: RepairInput): RepairPlan {
  const { snapshot, shown, known, shownRevision } = input;
  const missing = Math.max(0, shownRevision - known);
  const placed = new Map(snapshot.placements.map((placement) => [placement.processorId, placement]));
  const specs = specsOf(input);
  const wanted = new Set<ProcessorId>([...specs.keys(), ...placed.keys(), ...snapshot.fleet.quarantined.map(({ id }) => id)]);
  const inGit = new Map(shown.flatMap((line) => (line.id === null ? [] : [[line.id, line] as const])));
  const verdicts = shown.map((line) => adopt(input, line, { specs, wanted, before: line.id === null ? null : placed.get(line.id) ?? null }));
  const gone = missing === 0 ? [] : [...wanted].filter((id) => !inGit.has(id));
  const floors = new Map<ProcessorId, number>(gone.map((id) => [id, Math.max(placed.get(id)?.epoch ?? 0, input.retired.get(id) ?? 0) + missing]));
  // Whoever is dropped now may come back later.
  for (const { id, epoch } of shown) if (id !== null && !wanted.has(id)) floors.set(id, epoch);
  for (const [id, epoch] of input.echoed) if (!inGit.has(id)) floors.set(id, Math.max(epoch, floors.get(id) ?? 0));
  return {
    changes: [...verdicts.flatMap(({ change }) => change ?? []), ...gone.flatMap((id) => removal(placed.get(id), missing))].sort(byProcessor),
    floors: [...floors].filter(([id, epoch]) => epoch > (input.retired.get(id) ?? 0)).map(([processorId, epoch]) => ({ processorId, epoch: epoch as Epoch })).sort(byProcessor),
    problems: verdicts.flatMap(({ problem }) => problem ?? []),
    unexplained: [...input.echoed].flatMap(([processorId, echoed]) => {
      const epoch = inGit.get(processorId)?.epoch;
      return epoch === undefined || echoed <= epoch ? [] : [{ processorId, echoed, shown: epoch }];
    }).sort(byProcessor),
  };
}

const byProcessor = (a: { readonly processorId: ProcessorId }, b: { readonly processorId: ProcessorId }): number => (a.processorId < b.processorId ? -1 : 1);

/** What each processor would be rendered from: its row, or what was last good of it. */
function specsOf({ snapshot: { fleet }, formerSpecs }: RepairInput): ReadonlyMap<ProcessorId, ProcessorSpec> {
  const specs = new Map<ProcessorId, ProcessorSpec>(formerSpecs);
  for (const spec of fleet.processors) specs.set(spec.id, spec);
  for (const { id, lastGood } of fleet.quarantined) if (lastGood !== null) specs.set(id, lastGood);
  return specs;
}

interface Facts {
  readonly specs: ReadonlyMap<ProcessorId, ProcessorSpec>;
  readonly wanted: ReadonlySet<ProcessorId>;
  readonly before: Placement | null;
}

interface Verdict {
  readonly change?: Change;
  readonly problem?: RepairProblem;
}

function adopt(input: RepairInput, line: Shown, { specs, wanted, before }: Facts): Verdict {
  const { id } = line;
  const behind = input.shownRevision > input.known;
  // A database that is not behind removed it, and Git will follow.
  if (id === null || !wanted.has(id)) return behind && !input.dropUnknown ? trouble(line, 'no row of the database knows it', 'Insert its row again; or let it go, with its files, by --drop-unknown.') : {};
  if (before !== null && !mayAdopt(line, before, behind)) return {};
  const spec = specs.get(id);
  if (spec === undefined) return trouble(line, 'its row can\'t be rendered, and never was', 'Mend the row: `dory status` says what is wrong with it.');
  const target = targetOf(input, line, spec, before);
  if (target === null) return trouble(line, `no edge node is called ${line.target}, where it runs, or several are`, 'Register the node again, with `dory node register`.');
  return { change: adoption(spec, before, { target, epoch: line.epoch, phase: line.phase }) };
}

/** Decisions that Git does not show yet are ahead of it, as they may be. */
function mayAdopt({ epoch, phase, target }: Shown, before: Placement, behind: boolean): boolean {
  if (before.epoch !== epoch) return before.epoch < epoch;
  return behind && (before.phase !== phase || targetName(before.target) !== target);
}

function trouble({ name }: Shown, problem: string, mend: string): Verdict {
  return { problem: { name, problem, mend } };
}

function adoption(spec: ProcessorSpec, before: Placement | null, seen: { readonly target: Target; readonly epoch: number; readonly phase: Phase }): Change {
    const kind: ChangeKind = before === null ? 'place' : before.epoch !== seen.epoch ? 'move' : seen.phase === 'stopping' ? 'stop' : 'resume';
  return {
    kind,
    processorId: spec.id,
    before,
    after: { target: seen.target, phase: seen.phase, epoch: seen.epoch as Epoch, specDigest: spec.digest },
    reason: 'epochs-repaired',
    evidence: { seen: seen.epoch, known: before?.epoch ?? 0, target: targetName(seen.target) },
    rejected: [],
  };
}

/** Git shows it no more. */
function removal(before: Placement | undefined, missing: number): Change[] {
  if (before === undefined) return [];
  return [{ kind: 'remove', processorId: before.processorId, before, after: null, reason: 'epochs-repaired', evidence: { seen: 0, known: before.epoch, missing }, rejected: [] }];
}

/** Manifests name nodes, and names are unique in an organisation only: where it was, its home, its home's refuge, or the only one. */
function targetOf({ snapshot: { fleet } }: RepairInput, { target }: Shown, spec: ProcessorSpec, before: Placement | null): Target | null {
  if (target === 'managed') return { kind: 'managed' };
  const named = fleet.nodes.filter(({ name }) => name === target);
  const home = spec.home.kind === 'edge' ? spec.home.nodeId : null;
  const refuge = fleet.nodes.find(({ id }) => id === home)?.failoverTarget ?? null;
  const likely: readonly (NodeId | null)[] = [before?.target.kind === 'edge' ? before.target.nodeId : null, home, refuge];
  const found: EdgeNode | undefined = named.length === 1 ? named[0] : likely.flatMap((id) => named.filter((node) => node.id === id))[0];
  return found === undefined ? null : { kind: 'edge', nodeId: found.id, nodeName: found.name };
}
