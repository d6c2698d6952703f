import type { Millis } from '../model/time.ts';

/**
 * How many requests are under way at once. It starts low, doubles while the server stays as quick as it was, and where that costs more
 * than it may bring, or from the first sign of a queue on, creeps up and backs off: additive increase, multiplicative decrease, on
 * the latency of requests and on what the server says itself (429, 503). A queue in front of a server makes nothing faster, and
 * everybody else slower.
 */
export interface Pace {
  /** At least 1. */
  readonly limit: () => number;
  /** The server answered a request that began, on the monotonic clock, when `beside` others were under way. */
  answered(request: { readonly began: Millis; readonly took: Millis; readonly beside: number }): void;
  /** The server had too much to do for a request that `began` then. */
  throttled(now: Millis, began: Millis): void;
  /** The server could not be reached: what it can take when it is back is found out anew. */
  silent(now: Millis): void;
}

/** So few make no queue of note: what a request takes then is what the server needs, whatever it was before. For being slow alone they don't get fewer. */
const few = 16;
/** To make a connection costs both sides as much as a request or two: beyond so many, each has to pay off before the next is made. */
const doublesTo = 32;
/** The server has other clients, too. */
const most = 64;
/** Times what the server needs: the rest is a queue of our own making. */
const slow = 2;
const verySlow = 3;

export function createPace(): Pace {
  let limit = few;
  let doubling = true;
  let needed = Number.POSITIVE_INFINITY;
  let steppedDownAt = Number.NEGATIVE_INFINITY;
  let window: number[] = [];
  let busiest = 0;
  const stepDown = (to: number, now: number): void => {
    limit = Math.max(1, Math.floor(to));
    doubling = false;
    steppedDownAt = now;
    window = [];
  };
  /** One slow object among quick ones says nothing: the median does. */
  const judge = (median: number, now: number): void => {
    needed = limit <= few ? median : Math.min(needed, median);
    if (median >= needed * verySlow) stepDown(Math.max(few, limit * 0.75), now);
    else if (median >= needed * slow) doubling = false;
    // A limit that was not reached was not tried.
    else if (busiest + 1 >= limit) limit = Math.min(most, doubling && limit < doublesTo ? limit * 2 : limit + 1);
    busiest = 0;
  };
  return {
    limit: () => limit,
    answered: ({ began, took, beside }) => {
      // It was slow, or quick, at the pace before the last step down.
      if (began < steppedDownAt) return;
      window.push(took);
      busiest = Math.max(busiest, beside);
      if (window.length < limit) return;
      const [median = 0] = window.sort((a, b) => a - b).slice(Math.floor(window.length / 2));
      window = [];
      judge(median, began + took);
    },
    throttled: (now, began) => {
      // Many requests of one rush are refused together: that is one sign.
      if (began >= steppedDownAt) stepDown(limit / 2, now);
    },
    silent: (now) => {
      stepDown(1, now);
      doubling = true;
    },
  };
}
