import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeAnswer, KubeWriter } from '../platform/kube/write.ts';
import type { Random } from '../platform/random.ts';
import { backoff } from '../platform/retry.ts';
import type { Send } from './kinds.ts';
import type { Pace } from './pace.ts';

/** The way to the server during one pass: asks for the lead first, keeps the pace, and knows when it is better to wait. */
export interface Line {
  /** @throws what `assertLeading` throws */
  readonly send: Send;
  /** On the monotonic clock: nothing more is sent before. */
  readonly pausedUntil: () => Millis;
  /** Since when no request has been answered; 0 if the last one was. */
  silentFor(): Millis;
  /** That were sent. */
  requests(): number;
}

export interface LineOptions {
  readonly writer: KubeWriter;
  readonly clock: Clock;
  readonly random: Random;
  readonly pace: Pace;
  readonly assertLeading: () => Promise<void>;
}

/** Requests that begin so soon after the lead was asked for are one batch. Another instance takes over after more than that. */
const batch = seconds(1);
/** While nobody answers, one request a second at most finds out when somebody does. */
const silence = { first: millis(100), longest: seconds(1) };
/** One object may be refused for its own sake; so many in a row are all of us. */
const refusalsOfAll = 3;
const longestPause = seconds(10);

export function openLine({ writer, clock, random, pace, assertLeading }: LineOptions): Line {
  const leading = askInBatches(clock, assertLeading);
  let requests = 0;
  let underWay = 0;
  /** At once: so many have a connection of theirs. */
  let mostUnderWay = 0;
  let refusals = 0;
  let silences = 0;
  let silentSince: Millis | null = null;
  let pausedUntil = millis(0);
  const pause = (span: number): void => { pausedUntil = millis(Math.max(pausedUntil, clock.monotonic() + span)); };
  const unanswered = (): void => {
    silentSince ??= clock.monotonic();
    silences += 1;
    pace.silent(clock.monotonic());
    pause(backoff(silence, silences, random));
  };
  const tooMuch = (retryAfter: Millis | null, began: Millis): void => {
    pace.throttled(clock.monotonic(), began);
    refusals += 1;
    if (refusals >= refusalsOfAll) pause(Math.min(retryAfter ?? 0, longestPause));
  };
  const learn = (answer: KubeAnswer, { began, beside, connects }: { readonly began: Millis; readonly beside: number; readonly connects: boolean }): void => {
    if (answer.kind !== 'answered') {
      unanswered();
      return;
    }
    silentSince = null;
    silences = 0;
    if (answer.status === 429 || answer.status === 503) {
      tooMuch(answer.retryAfter, began);
      return;
    }
    refusals = 0;
    if (!connects) pace.answered({ began, took: millis(clock.monotonic() - began), beside });
  };
  return {
    send: async (request) => {
      await leading();
      const began = clock.monotonic();
      const beside = underWay;
      requests += 1;
      underWay += 1;
      // It has to make a connection first, which takes longer than most requests, and says nothing about the pace either.
      const connects = underWay > mostUnderWay;
      mostUnderWay = Math.max(mostUnderWay, underWay);
      // Asked once more when it is really sent: who was stopped, or cut off, meanwhile may not lead any more.
      const answer = await writer.send(request, leading).finally(() => { underWay -= 1; });
      // Questions are answered faster than orders: they say nothing about the pace.
      if (request.method !== 'GET' || answer.kind !== 'answered') learn(answer, { began, beside, connects });
      return answer;
    },
    pausedUntil: () => pausedUntil,
    silentFor: () => (silentSince === null ? millis(0) : millis(clock.monotonic() - silentSince)),
    requests: () => requests,
  };
}

function askInBatches(clock: Clock, assertLeading: () => Promise<void>): () => Promise<void> {
  let asked: { readonly at: Millis; readonly answer: Promise<void> } | null = null;
  return () => {
    const now = clock.monotonic();
    if (asked === null || now - asked.at > batch) asked = { at: now, answer: assertLeading() };
    return asked.answer;
  };
}
