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
 * manifest is gone, says `stopped` until that is heard, and is no more. It echoes its epoch, so it honours leases: one that is not answered
 * in time does nothing until it is.
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
  let leaseUntil = Number.POSITIVE_INFINITY;
  while (!context.signal.aborted) {
    const stopping = told || stop.signal.aborted;
    const sentAt = context.clock.monotonic();
    const status = stopping ? 'stopped' : sentAt > leaseUntil ? 'paused' : 'healthy';
    const answer = await send(context, podBeat(context, pod, status, sentAt - since));
    if (stopping && answer !== null) return told ? 'told' : 'removed';
    if (typeof answer?.lease_sec === 'number') leaseUntil = sentAt + answer.lease_sec * 1000;
    if (answer?.directive === 'shutdown') told = true;
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

interface Answer {
  readonly directive: string;
  readonly lease_sec?: number | null;
}

/** @returns null if nobody answered. */
async function send({ options, report, signal }: AgentContext, beat: object): Promise<Answer | null> {
  try {
    const response = await fetch(`${options.server}/api/v1/edge/heartbeat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(beat),
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
    });
    const answer = (await response.json()) as Partial<Answer>;
    if (response.ok && answer.directive !== undefined) return { ...answer, directive: answer.directive };
    throw new Error(`status ${String(response.status)}`);
  } catch (error) {
    if (!signal.aborted) report({ kind: 'unheard', detail: error instanceof Error ? error.message : String(error) });
    return null;
  }
}
