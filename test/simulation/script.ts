import type { Step } from '../../src/cycle.ts';
import type { Policy, PolicyOverride } from '../../src/model/snapshot.ts';

/** What an agent does with what it is told. `fenced` honours leases; `obedient` stops when told; `deaf`, as today's SDK, beats and no more. */
export type AgentKind = 'fenced' | 'obedient' | 'deaf';

export interface NodeScript {
  readonly name: string;
  readonly site: string;
  readonly failoverTarget: string | null;
}

export interface ProcessorScript {
  readonly name: string;
  /** A node's name, or `managed`. */
  readonly home: string;
  readonly agent: AgentKind;
  /** How long a stop may take, in seconds. */
  readonly shutdownTimeoutSec: number;
}

/** A world and all that happens to it: plain data, so that parts can be left out and the rest replayed. */
export interface Script {
  readonly seed: number;
  readonly instances: number;
  /** Whether instances watch Kubernetes. */
  readonly watched: boolean;
  /** Whether nodes beat for themselves. */
  readonly beacons: boolean;
  readonly nodes: readonly NodeScript[];
  readonly processors: readonly ProcessorScript[];
  readonly policy: Policy;
  /** Agents keep one connection, and so one instance, as long as it answers; else each beat goes to any that is ready. */
  readonly sticky: boolean;
  /** Between the looks of the GitOps tool, and how long it takes to apply: at most, in milliseconds. */
  readonly gitopsMs: number;
  readonly overrides: readonly PolicyOverride[];
  /** A world in which leaders also see to what moves left behind, and to what another system ran before; null: neither is there. */
  readonly cutover: Cutover | null;
  readonly faults: readonly Fault[];
  /** From here on everything works, and people do what they are asked for. */
  readonly calmAt: number;
  /** Whether people answer before that. */
  readonly staffed: boolean;
  readonly endAt: number;
}

interface Cutover {
  /** Processors of which the other system left a pod, at home. */
  readonly bare: readonly string[];
}

/** Times in milliseconds since the beginning; what lasts is over at `until`, and at `calmAt` at the latest. */
export type Fault = ({ readonly at: number } & (
  | { readonly kind: 'cut'; readonly until: number; readonly links: readonly string[] }
  | { readonly kind: 'loss'; readonly until: number; readonly share: number }
  | { readonly kind: 'instance-crash' | 'instance-stop'; readonly until: number; readonly instance: string }
  /** SIGSTOP; with `frozen`, as when a virtual machine stands still: its clocks stand still too. */
  | { readonly kind: 'instance-pause'; readonly until: number; readonly instance: string; readonly frozen: boolean }
  | { readonly kind: 'crash-at-step'; readonly instance: string; readonly step: Step | 'push' | 'pushed' }
  /** Another server takes over, whose clock differs. */
  | { readonly kind: 'database-clock'; readonly ms: number }
  | { readonly kind: 'database-down' | 'database-stall' | 'api-down' | 'git-down' | 'gitops-down'; readonly until: number }
  | { readonly kind: 'node-absent' | 'node-crash' | 'node-not-ready' | 'kubelet-down'; readonly until: number; readonly node: string }
  | { readonly kind: 'agent-pause' | 'agent-mute' | 'image-missing'; readonly until: number; readonly processor: string }
  | { readonly kind: 'agent-crash'; readonly processor: string }
  /** A person looks, and if the node has no power says so, so much later: it may be on again by then. */
  | { readonly kind: 'power-off-said'; readonly node: string; readonly afterMs: number }
)) | Edit;

/** What people do to the operator's tables, and tell Dory. */
export type Edit = { readonly at: number } & (
  | { readonly kind: 'release' | 'remove' | 'add' | 'rename' | 'take-over' | 'hand-back'; readonly processor: string }
  | { readonly kind: 'rehome'; readonly processor: string; readonly home: string }
  | { readonly kind: 'decommission'; readonly node: string }
  | { readonly kind: 'lock'; readonly node: string; readonly until: number }
  | { readonly kind: 'pause'; readonly until: number }
);

/** Everything, or only some of the faults: `17`, `17:0,4,9`. Faults are numbered in the order in which they begin. `c17`: with a cutover. */
export interface Choice {
  readonly cutover?: true;
  readonly seed: number;
  readonly faults: readonly number[] | null;
}

export function parseChoice(text: string): Choice {
  const match = /^(c?)(\d+)(?::([\d,]*))?$/.exec(text.trim());
  if (match === null) throw new Error(`not a seed of the simulation: ${text}`);
  const [, cutover, seed = '0', faults] = match;
  return { ...(cutover === 'c' ? { cutover: true } : {}), seed: Number(seed), faults: faults === undefined ? null : faults.split(',').filter((n) => n !== '').map(Number) };
}

export function formatChoice({ cutover, seed, faults }: Choice): string {
  return `${cutover === true ? 'c' : ''}${String(seed)}${faults === null ? '' : `:${faults.join(',')}`}`;
}
