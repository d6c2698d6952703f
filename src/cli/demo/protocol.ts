/** What the demo's cluster and its agents, one process a node, tell each other over their IPC channel. */

/** One pod of one placement. */
export interface Pod {
  readonly processorId: string;
  /** The placement's; an agent echoes it in its heartbeats. */
  readonly epoch: number;
}

export interface AgentOptions {
  /** What the agent calls its node in heartbeats. */
  readonly node: string;
  /** An edge node speaks for itself as well; a managed one is none of Dory's edge nodes. */
  readonly kind: 'edge' | 'managed';
  /** `http://host:port`. */
  readonly server: string;
  readonly intervalMs: number;
}

export type AgentOrder =
  | { readonly kind: 'begin'; readonly options: AgentOptions }
  | { readonly kind: 'change'; readonly run: readonly Pod[]; readonly stop: readonly Pod[] };

export type AgentReport =
  | { readonly kind: 'started'; readonly pod: Pod }
  /** `told`: by the answer to a heartbeat. `removed`: by its manifest. */
  | { readonly kind: 'stopped'; readonly pod: Pod; readonly because: 'told' | 'removed' }
  /** A heartbeat that got no answer. */
  | { readonly kind: 'unheard'; readonly detail: string };

export const podKey = ({ processorId, epoch }: Pod): string => `${processorId} ${String(epoch)}`;
