import type { Change, Plan } from '../../src/model/plan.ts';
import { targetName, type Placement } from '../../src/model/placement.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import type { Instant } from '../../src/model/time.ts';
import type { Commit } from './git.ts';
import type { Kernel } from './kernel.ts';
import { leads } from './leader.ts';
import type { Process } from './process.ts';
import type { Rows } from './rows.ts';
import type { Script } from './script.ts';
import { unjustified } from './justified.ts';
import type { Truth } from './truth.ts';

/** Which of the rules was broken. */
export type RuleCode = 'two-writers' | 'leader' | 'epoch' | 'conflict' | 'paused' | 'unjustified' | 'commits' | 'marked' | 'rest' | 'thrown';

export interface Violation {
  readonly code: RuleCode;
  readonly at: number;
  readonly message: string;
}

/** How often things happened: a run in which nothing did proves nothing. */
export interface Counts {
  decisions: number;
  moves: number;
  stops: number;
  commits: number;
  takeovers: number;
  /** Two writers at once, after a commit that said that it moved an agent without a fence. */
  unfenced: number;
  /** Pods that moves left behind and that a leader deleted; pods of another system that were deleted to take over; names changed; handed back, and started there. */
  swept: number;
  adopted: number;
  renamed: number;
  handedBack: number;
  /** Words that a node has no power, taken. */
  poweredOff: number;
}

export interface DecisionMade {
  readonly rows: Rows;
  readonly clock: Instant;
  readonly snapshot: Snapshot;
  readonly plan: Plan;
  readonly by: string;
  readonly leaderEpoch: number;
  /** For how long this instance could not have asked the remote; 0 if it could. */
  readonly gitAwayFor: number;
}

/** What must hold at every step, by what is true in the simulated world, not by what `plan` believes. */
export class Checks {
  violation: Violation | null = null;
  readonly counts: Counts = { decisions: 0, moves: 0, stops: 0, commits: 0, takeovers: 0, unfenced: 0, swept: 0, adopted: 0, renamed: 0, handedBack: 0, poweredOff: 0 };
  /** When a decision or a commit was last written. */
  lastWriteAt = 0;
  /** All that was decided: when, by whom, what. */
  readonly decided: { readonly at: number; readonly by: string; readonly changes: Plan['changes'] }[] = [];
  /** The last things that happened, for the story of a violation. */
  readonly story: string[] = [];
  readonly #kernel: Kernel;
  readonly #script: Script;
  readonly #truth: Truth;
  readonly #writers = new Map<string, Set<Process>>();
  readonly #highest = new Map<string, number>();
  /** By processor and the epoch that was left. */
  readonly #left = new Map<string, Change>();
  /** All placements as each revision left them. */
  readonly #history = new Map<number, ReadonlyMap<string, Placement>>();
  #before: ReadonlyMap<string, Placement> = new Map();
  #lastLeader = 0;

  constructor(kernel: Kernel, script: Script, truth: Truth) {
    this.#kernel = kernel;
    this.#script = script;
    this.#truth = truth;
  }

  tell(line: string): void {
    this.story.push(`${(this.#kernel.now / 1000).toFixed(1).padStart(8)} s  ${line}`);
    if (this.story.length > 400) this.story.shift();
  }

  fail(code: RuleCode, message: string): void {
    this.tell(`VIOLATION ${message}`);
    this.violation ??= { code, at: this.#kernel.now, message };
  }

  /** The database was put back to an earlier state: epochs of leaders begin anew from there. */
  restored(): void {
    this.#lastLeader = 0;
  }

  writersOf(processor: string): readonly Process[] {
    return [...(this.#writers.get(processor) ?? [])];
  }

  /** Invariant: one writer of a processor at a time. */
  writes(process: Process, writing: boolean): void {
    const { processor, epoch, node } = process;
    const writers = this.#writers.get(processor) ?? new Set<Process>();
    this.#writers.set(processor, writers);
    this.tell(`${processor} e${String(epoch)} on ${node} (${process.kind}) ${writing ? 'writes' : 'writes no more'}`);
    if (!writing) { writers.delete(process); return; }
    for (const other of writers) this.#together(other, process);
    writers.add(process);
  }

  #together(a: Process, b: Process): void {
    // What another system runs bears no epoch: then the one that wrote before is the older.
    const [old, next] = Math.min(a.epoch, b.epoch) === 0 || a.epoch < b.epoch ? [a, b] : [b, a];
    const left = this.#left.get(`${old.processor}/${String(old.epoch)}`);
    if (old.kind !== 'fenced' && left?.evidence['unfenced'] === true) { this.counts.unfenced += 1; return; }
    const how = left === undefined ? 'and nothing ever moved it' : `after ${left.kind} ${left.reason} ${JSON.stringify(left.evidence)}`;
    this.fail('two-writers', `two writers of ${old.processor}: epoch ${String(old.epoch)} on ${old.node} (${old.kind}) and ${String(next.epoch)} on ${next.node}, ${how}`);
  }

  beforeDecision(rows: Rows): void {
    this.#before = new Map(rows.placements);
  }

  afterDecision(made: DecisionMade): void {
    const { rows, clock, plan, by, leaderEpoch } = made;
    this.counts.decisions += 1;
    this.decided.push({ at: this.#kernel.now, by, changes: plan.changes });
    this.lastWriteAt = this.#kernel.now;
    if (!leads(rows, clock, leaderEpoch) || rows.leader.holder !== by) {
      this.fail('leader', `${by} decides under epoch ${String(leaderEpoch)}, but ${rows.leader.holder ?? 'nobody'} holds the lease under ${String(rows.leader.epoch)}`);
    }
    if (leaderEpoch < this.#lastLeader) this.fail('leader', `a decision under leader epoch ${String(leaderEpoch)} after one under ${String(this.#lastLeader)}`);
    if (leaderEpoch > this.#lastLeader) this.counts.takeovers += 1;
    this.#lastLeader = leaderEpoch;
    for (const { nodeId, verdict, reason } of plan.transitions) this.tell(`${by}: ${nodeId} is ${verdict} (${reason})`);
    for (const { processorId, reason } of plan.holds) this.tell(`${by}: ${processorId} held: ${reason}`);
    if (plan.changes.length > 0) this.#history.set(rows.revision, new Map(rows.placements));
    if (plan.changes.length > 0 && rows.pause.paused !== null) this.fail('paused', `${by} changes ${String(plan.changes.length)} placements while automation is paused`);
    for (const change of plan.changes) this.#checkChange(change, made);
  }

  #checkChange(change: Change, made: DecisionMade): void {
    const { processorId, before, after, kind, reason } = change;
    const places = `${before === null ? '' : targetName(before.target)} → ${after === null ? '' : targetName(after.target)}`;
    this.tell(`${made.by}: r${String(made.rows.revision)} ${processorId} ${kind} ${places} e${String(after?.epoch ?? before?.epoch)} ${reason} ${JSON.stringify(change.evidence)}`);
    if ((this.#before.get(processorId)?.revision ?? null) !== (before?.revision ?? null)) {
      this.fail('conflict', `${kind} of ${processorId} was decided on a placement that is not the current one`);
    }
    if (kind === 'move') this.counts.moves += 1;
    if (kind === 'stop') this.counts.stops += 1;
    if (kind === 'resume' && reason === 'renamed') this.counts.renamed += 1;
    this.#checkEpoch(change);
    if (before !== null && (kind === 'move' || kind === 'remove' || (kind === 'resume' && reason === 'renamed'))) this.#left.set(`${processorId}/${String(before.epoch)}`, change);
    const wrong = unjustified(change, made, { script: this.#script, truth: this.#truth, now: this.#kernel.now });
    if (wrong !== null) this.fail('unjustified', `${kind} of ${processorId} ${wrong}`);
  }

  /** Invariant 1: the epoch only rises. */
  #checkEpoch({ kind, reason, processorId, after }: Change): void {
    if (after === null) return;
    const highest = this.#highest.get(processorId) ?? 0;
    const rises = kind === 'move' || (kind === 'resume' && reason === 'renamed') || (kind === 'place' && highest === 0);
    if (rises ? after.epoch <= highest : after.epoch !== highest) this.fail('epoch', `${kind} of ${processorId} to epoch ${String(after.epoch)}, the highest so far is ${String(highest)}`);
    this.#highest.set(processorId, Math.max(highest, after.epoch));
  }

  /** Invariants 2 and 7: one chain of commits, each of them what the rows of its revision say. */
  afterPush(before: Commit | null, commit: Commit): void {
    this.counts.commits += 1;
    this.lastWriteAt = this.#kernel.now;
    this.tell(`${commit.by}: commit ${String(commit.id)} with revision ${String(commit.revision)}`);
    if (commit.parent !== (before?.id ?? null)) this.fail('commits', `commit ${String(commit.id)} of ${commit.by} is not on top of ${String(before?.id)}`);
    if (before !== null && commit.revision <= before.revision) this.fail('commits', `commit ${String(commit.id)} takes the branch back from revision ${String(before.revision)} to ${String(commit.revision)}`);
    const rows = this.#history.get(commit.revision);
    const same = rows?.size === commit.tree.size && [...rows].every(([name, placement]) => commit.tree.get(name) === placement);
    if (!same) this.fail('commits', `commit ${String(commit.id)} is not what the rows of revision ${String(commit.revision)} say`);
  }

  /** What counts as committed is on the remote. */
  afterMark(rows: Rows, head: Commit | null): void {
    const marked = rows.revisions.findLast(({ committedAt }) => committedAt !== null)?.id ?? 0;
    if (marked > (head?.revision ?? 0)) this.fail('marked', `revision ${String(marked)} counts as committed, the remote has ${String(head?.revision ?? 0)}`);
  }
}
