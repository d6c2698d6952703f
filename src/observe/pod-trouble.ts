import { z } from 'zod';
import type { PodTrouble } from '../model/rollout.ts';

const ended = z.object({ reason: z.string().nullish(), exitCode: z.number() });
const waiting = z.object({ reason: z.string().nullish(), message: z.string().nullish() });
const containerState = z.object({ waiting: waiting.nullish(), terminated: ended.nullish() });
const containerStatus = z.object({ ready: z.boolean().default(false), restartCount: z.number().default(0), state: containerState.nullish(), lastState: containerState.nullish() });

/** As much of a pod's status as says how it is. */
export const podStatusSchema = z.object({
  phase: z.string().optional(),
  reason: z.string().optional(),
  message: z.string().optional(),
  hostIP: z.string().optional(),
  conditions: z.array(z.object({ type: z.string(), status: z.string(), reason: z.string().nullish(), message: z.string().nullish() })).optional(),
  initContainerStatuses: z.array(containerStatus).optional(),
  containerStatuses: z.array(containerStatus).optional(),
});
type PodStatus = z.output<typeof podStatusSchema>;
type ContainerStatus = z.output<typeof containerStatus>;
type Ended = z.output<typeof ended>;
type Waiting = z.output<typeof waiting>;

/** Enough of the scheduler's or a registry's words for a person. */
const longestWords = 400;
export const cutWords = (words: string): string => (words.length > longestWords ? `${words.slice(0, longestWords - 1)}…` : words);

/** What every container goes through. */
const usual: ReadonlySet<string> = new Set(['ContainerCreating', 'PodInitializing']);

export function isReady({ conditions = [] }: PodStatus): boolean {
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}

export function restartsOf({ initContainerStatuses = [], containerStatuses = [] }: PodStatus): number {
  return [...initContainerStatuses, ...containerStatuses].reduce((sum, { restartCount }) => sum + restartCount, 0);
}

/** The first thing that keeps a pod from being ready, in the order in which a pod comes to life; null where the cluster names none. */
export function troubleOf(status: PodStatus): PodTrouble | null {
  if (isReady(status)) return null;
  return over(status) ?? unscheduled(status) ?? firstOf([...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]);
}

function over({ phase, reason, message }: PodStatus): PodTrouble | null {
  if (phase !== 'Failed' && phase !== 'Succeeded') return null;
  return { kind: 'over', reason: reason ?? phase, words: cutWords(message ?? '') };
}

function unscheduled({ conditions = [] }: PodStatus): PodTrouble | null {
  const scheduled = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  return scheduled === undefined ? null : { kind: 'unscheduled', reason: scheduled.reason ?? 'Unschedulable', words: cutWords(scheduled.message ?? '') };
}

function firstOf(containers: readonly ContainerStatus[]): PodTrouble | null {
  for (const container of containers) {
    const trouble = troubleOfContainer(container);
    if (trouble !== null) return trouble;
  }
  return null;
}

function troubleOfContainer({ ready, state, lastState }: ContainerStatus): PodTrouble | null {
  if (ready) return null;
  const { waiting = null, terminated = null } = state ?? {};
  const last = terminated ?? lastState?.terminated ?? null;
  if (waiting !== null) return troubleOfWaiting(waiting, last);
  // An init container that did its work is no trouble.
  if (terminated !== null) return terminated.exitCode === 0 ? null : endOf('ended', terminated);
  return last === null ? null : endOf('restarted', last);
}

function troubleOfWaiting({ reason, message }: Waiting, last: Ended | null): PodTrouble | null {
  // What ended and is to be started again is told by its end: the wait in between says only how long it waits.
  if (reason === 'CrashLoopBackOff') return endOf('looping', last, message ?? '');
  return usual.has(reason ?? 'ContainerCreating') ? null : { kind: 'waiting', reason: reason ?? '', words: cutWords(message ?? '') };
}

/** A container's own last message is left out: it may be a piece of its log. */
function endOf(kind: PodTrouble['kind'], last: Ended | null, message = ''): PodTrouble {
  const words = [...(last === null ? [] : [`exit code ${String(last.exitCode)}`]), ...(message === '' ? [] : [message])];
  return { kind, reason: last?.reason ?? 'Error', words: cutWords(words.join('; ')) };
}
