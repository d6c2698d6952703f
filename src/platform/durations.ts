import { millis, type Millis } from '../model/time.ts';

/** Milliseconds in each of Go's units. */
const units: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const amount = String.raw`(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)`;

/** A length of time as Go writes it, without a sign: `30s`, `1m30s`, `1.5h`, `100ms`, `0`. */
export const durationPattern = new RegExp(`^(?:0|(?:${amount})+)$`);

/** @returns the length, in milliseconds to the nanosecond; null if the text is no such duration. */
export function parseDuration(text: string): Millis | null {
  if (!durationPattern.test(text)) return null;
  let total = 0;
  for (const [, count = '0', unit = ''] of text.matchAll(new RegExp(amount, 'g'))) total += Number(count) * (units[unit] ?? 0);
  return Number.isFinite(total) ? millis(total) : null;
}
