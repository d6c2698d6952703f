import { millis } from '../../model/time.ts';
import type { Clock } from '../../platform/clock.ts';
import { podKey, type AgentOptions, type AgentOrder, type AgentReport, type Pod } from './protocol.ts';

/** An agent takes orders and tells what became of them. */
export interface Agent {
  take(order: Extract<AgentOrder, { kind: 'change' }>): void;
}

interface AgentContext {
  readonly options: AgentOptions;
  readonly clock: Clock;
  readonly report: (report: AgentReport) => void;
  /** The node is switched off. */
  readonly signal: AbortSignal;
}

interface RunningPod {
  readonly pod: Pod;
  readonly since: number;
  readonly stop: AbortController;
}

/** The SDK's own. */
const answerTimeoutMs = 5_000;

/**
 * Stands for one node: sends its node beats and, for each pod that it runs, what `dory-sdk` sends. A pod that is told to shut down, or whose
 * manifest is gone, says `stopped` until that is heard, and is no more.
 */
export function startAgent(context: AgentContext): Agent {
  const pods = new Map<string, RunningPod>();
  if (context.options.kind === 'edge') void beatForNode(context);

  const start = (pod: Pod): void => {
    const running = { pod, since: context.clock.monotonic(), stop: new AbortController() };
    pods.set(podKey(pod), running);
    context.report({ kind: 'started', pod });
    void beatForPod(context, running).then((because) => {
      pods.delete(podKey(pod));
      if (because !== null) context.report({ kind: 'stopped', pod, because });
    });
  };
  return {
    take: ({ run, stop }) => {
      for (const pod of stop) pods.get(podKey(pod))?.stop.abort();
      for (const pod of run) if (!pods.has(podKey(pod))) start(pod);
    },
  };
}

async function beatForNode(context: AgentContext): Promise<void> {
  while (!context.signal.aborted) {
    await send(context, { node_id: context.options.node, status: 'healthy' });
    await pause(context, context.signal);
  }
}

/** One beat after the other, so that `stopped` is the last. @returns why it stopped; null if the node was switched off. */
async function beatForPod(context: AgentContext, { pod, since, stop }: RunningPod): Promise<'told' | 'removed' | null> {
  let told = false;
  while (!context.signal.aborted) {
    const stopping = told || stop.signal.aborted;
    const directive = await send(context, podBeat(context, pod, stopping ? 'stopped' : 'healthy', context.clock.monotonic() - since));
    if (stopping && directive !== null) return told ? 'told' : 'removed';
    if (directive === 'shutdown') told = true;
    else await pause(context, stopping ? context.signal : AbortSignal.any([context.signal, stop.signal]));
  }
  return null;
}

function podBeat({ options, clock }: AgentContext, { processorId, epoch }: Pod, status: string, ageMs: number): object {
  return {
    processor_id: processorId,
    node_id: options.node,
    role: 'primary',
    epoch: null,
    timestamp: clock.now() / 1000,
    status,
    last_state_sync: null,
    state_size_bytes: null,
    uptime_sec: ageMs / 1000,
    placement_epoch: epoch,
  };
}

async function pause({ clock, options }: AgentContext, signal: AbortSignal): Promise<void> {
  await clock.sleep(millis(options.intervalMs), signal).catch(() => undefined);
}

/** @returns the directive, or null if nobody answered. */
async function send({ options, report, signal }: AgentContext, beat: object): Promise<string | null> {
  try {
    const response = await fetch(`${options.server}/api/v1/edge/heartbeat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(beat),
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    const answer = (await response.json()) as { readonly directive?: string };
    if (response.ok && answer.directive !== undefined) return answer.directive;
    throw new Error(`status ${String(response.status)}`);
  } catch (error) {
    if (!signal.aborted) report({ kind: 'unheard', detail: error instanceof Error ? error.message : String(error) });
    return null;
  }
}
