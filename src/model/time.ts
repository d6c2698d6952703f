import type { Brand } from './ids.ts';

/** A moment: whole milliseconds since the Unix epoch, read from the database's clock. */
export type Instant = Brand<number, 'Instant'>;
/** A length of time in milliseconds. */
export type Millis = Brand<number, 'Millis'>;

export const instant = (ms: number): Instant => ms as Instant;
export const millis = (ms: number): Millis => ms as Millis;
export const seconds = (s: number): Millis => (s * 1000) as Millis;

/** How long after `earlier` the moment `later` is; negative if it is before. */
export const elapsed = (earlier: Instant, later: Instant): Millis => (later - earlier) as Millis;
export const after = (moment: Instant, wait: Millis): Instant => (moment + wait) as Instant;
/** The first moment at which more than `wait` has passed since `moment`. */
export const justAfter = (moment: Instant, wait: Millis): Instant => (moment + wait + 1) as Instant;
export const latest = (a: Instant, b: Instant): Instant => (a > b ? a : b);

/** The earlier of two moments, where null is "never". */
export function earliest(a: Instant | null, b: Instant | null): Instant | null {
  if (a === null) return b;
  if (b === null) return a;
  return a < b ? a : b;
}

/** `moment`, or half a second from `now` where it is already past: what it waits for (a receiver's report) is late. */
export const soonAfter = (now: Instant, moment: Instant): Instant => latest(moment, (now + 500) as Instant);

/** `2026-11-21T04:05:06Z`: UTC, whole seconds. */
export function formatInstant(moment: Instant): string {
  return `${new Date(moment).toISOString().slice(0, 19)}Z`;
}

/** For people: `0.4 s`, `63 s`, `5m10s`, `3h5m`, `2d4h`. */
export function formatMillis(span: Millis): string {
  if (span < 0) return `-${formatMillis(millis(0 - span))}`;
  if (span < 10_000 && span % 1000 !== 0) return `${(span / 1000).toFixed(1)} s`;
  const s = Math.round(span / 1000);
  if (s < 120) return `${String(s)} s`;
  const parts: readonly [string, number][] = [['d', 86_400], ['h', 3_600], ['m', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => s >= size);
  let left = s;
  return parts
    .slice(first, first + 2)
    .map(([unit, size]) => {
      const n = Math.floor(left / size);
      left -= n * size;
      return n === 0 ? '' : `${String(n)}${unit}`;
    })
    .join('');
}
