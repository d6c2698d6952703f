import type { Verdict } from '../../../src/model/snapshot.ts';
import type { ReasonCode } from '../../../src/model/reasons.ts';
import type { AgentKind } from '../script.ts';

/** Moments are in milliseconds of the model's own time; it passes in ticks, and every threshold lies between two of them. */
export const tickMs = 10_000;

export type Place = 'a' | 'b' | 'managed';
export const nodeNames = ['a', 'b'] as const;
export type NodeName = (typeof nodeNames)[number];

interface NodeState {
  /** Whether its agents reach Dory, and its kubelet the API server. */
  dory: boolean;
  api: boolean;
  ready: 'true' | 'false' | 'unknown';
  readySince: number;
  beat: number | null;
  verdict: Verdict | null;
  verdictSince: number;
}

export interface Row {
  epoch: number;
  target: Place;
  phase: 'active' | 'stopping';
}

export interface PodState {
  epoch: number;
  node: Place;
  /** The API server wants it to run. */
  wanted: boolean;
  writing: boolean;
  /** When it was given its last lease; null without one. */
  leasedAt: number | null;
  /** Since when it is stopping, told by Dory or by its kubelet; null while it is not. */
  stoppingSince: number | null;
}

export interface ProcessorState {
  row: (Row & { reason: ReasonCode; since: number; publishedAt: number | null }) | null;
  /** What Git shows, and what of it the cluster has applied. */
  head: Row | null;
  applied: Row | null;
  beat: { epoch: number; at: number; lease: number | null; acknowledged: number | null } | null;
  confirmed: { epoch: number; at: number } | null;
  pods: PodState[];
  /** The epochs that were left by a commit that said that it did so without a fence. */
  unfenced: number[];
  /** A person said that it may move, or go home. */
  approved: boolean;
}

export interface State {
  now: number;
  nodes: Record<NodeName, NodeState>;
  processors: ProcessorState[];
  git: boolean;
  /** Whether the cluster can be watched. */
  watch: boolean;
  /** Null: no receiver is up. */
  intakeSince: number | null;
  /** How many more things may fail; and how many more steps may come late, or not to their end. */
  faultsLeft: number;
  slipsLeft: number;
}

/** What stays the same in one sweep. */
export interface Variant {
  readonly agents: readonly AgentKind[];
  readonly onFailure: 'replace' | 'hold' | 'manual';
  readonly failback: 'auto' | 'manual';
  readonly writerAlive: 'move' | 'hold';
  readonly unfenced: 'replace' | 'hold';
}

/** The processors' homes: each node has one. */
export const homes: readonly NodeName[] = ['a', 'b'];

export function firstState(variant: Variant, { faults, slips }: { readonly faults: number; readonly slips: number }): State {
  const node = (): NodeState => ({ dory: true, api: true, ready: 'true', readySince: 0, beat: 0, verdict: 'healthy', verdictSince: 0 });
  return {
    now: 0,
    nodes: { a: node(), b: node() },
    processors: variant.agents.map((_, i) => {
      const row: Row = { epoch: 1, target: homes[i] ?? 'a', phase: 'active' };
      return {
        row: { ...row, reason: 'first-placement', since: 0, publishedAt: 0 },
        head: row,
        applied: row,
        beat: null,
        confirmed: null,
        pods: [newPod(row)],
        unfenced: [],
        approved: false,
      };
    }),
    git: true,
    watch: true,
    intakeSince: 0,
    faultsLeft: faults,
    slipsLeft: slips,
  };
}

export function newPod({ epoch, target }: Row): PodState {
  return { epoch, node: target, wanted: true, writing: false, leasedAt: null, stoppingSince: null };
}

export function copy(state: State): State {
  return {
    ...state,
    nodes: { a: { ...state.nodes.a }, b: { ...state.nodes.b } },
    processors: state.processors.map((p) => ({
      ...p,
      row: p.row === null ? null : { ...p.row },
      beat: p.beat === null ? null : { ...p.beat },
      pods: p.pods.map((pod) => ({ ...pod })),
    })),
  };
}

/**
 * Two states with one name have the same future. Epochs count from the current one. Moments count back from now; those that are
 * older than every threshold keep their order and nothing else.
 */
export function nameOf(state: State): string {
  const moments = new Set<number>();
  const note = (moment: number | null): void => { if (moment !== null) moments.add(moment); };
  for (const { readySince, beat, verdictSince } of [state.nodes.a, state.nodes.b]) { note(readySince); note(beat); note(verdictSince); }
  for (const { row, beat, confirmed, pods } of state.processors) {
    for (const { leasedAt, stoppingSince } of pods) { note(leasedAt); note(stoppingSince); }
    note(row?.since ?? null);
    note(row?.publishedAt ?? null);
    note(beat?.at ?? null);
    note(beat?.lease ?? null);
    note(beat?.acknowledged ?? null);
    note(confirmed?.at ?? null);
  }
  note(state.intakeSince);
  const old = [...moments].filter((moment) => state.now - moment > longestMs).sort((x, y) => y - x);
  const ages = new Map(old.map((moment, i) => [moment, `o${String(i)}`]));
  const age = (moment: number | null): string => (moment === null ? '-' : (ages.get(moment) ?? String((state.now - moment) / 1_000)));
  const flag = (value: boolean): string => (value ? '1' : '0');
  const nodes = nodeNames.map((name) => {
    const { dory, api, ready, readySince, beat, verdict, verdictSince } = state.nodes[name];
    return `${flag(dory)}${flag(api)}${ready}${age(readySince)},${age(beat)},${verdict ?? ''}${age(verdictSince)}`;
  });
  const processors = state.processors.map(({ row, head, applied, beat, confirmed, pods, approved }) => {
    const base = row?.epoch ?? 0;
    const entry = (r: Row | null): string => (r === null ? '-' : `${String(r.epoch - base)}${r.target}${r.phase}`);
    const shown = beat === null ? '-' : `${String(Math.max(-1, beat.epoch - base))}:${age(beat.at)},${age(beat.lease)},${age(beat.acknowledged)}`;
    const said = confirmed?.epoch === base ? age(confirmed.at) : '-';
    const running = pods.map((pod) => `${String(pod.epoch - base)}${pod.node}${flag(pod.wanted)}${flag(pod.writing)}${age(pod.leasedAt)},${age(pod.stoppingSince)}`);
    return `${entry(row)}${row?.reason ?? ''}${age(row?.since ?? null)},${age(row?.publishedAt ?? null)}|${entry(head)}|${entry(applied)}|${shown}|${said}|${running.join(' ')}|${flag(approved)}`;
  });
  return `${nodes.join(';')};${processors.join(';')};${flag(state.git)}${flag(state.watch)}${age(state.intakeSince)}f${String(state.faultsLeft)}s${String(state.slipsLeft)}`;
}

/** Longer than any threshold of the model. */
const longestMs = 55_000;
