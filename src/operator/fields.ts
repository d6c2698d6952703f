import { z } from 'zod';
import { millis, type Millis } from '../model/time.ts';
import { durationPattern, parseDuration } from '../platform/durations.ts';

/** Members that several operations have. Their errors say what to give. */

/** PostgreSQL's text holds no NUL, and a limit keeps one request from filling a row. */
export const text = (what: string, max: number) => {
  const error = `give ${what}, at most ${String(max)} characters`;
  return z.string({ error }).trim().min(1, { error }).max(max, { error }).regex(/^[^\0]*$/, { error });
};

export const reason = text('a reason', 500).describe('Why; it is recorded.');
export const processor = text('a processor', 300).describe('Its id, the beginning of its id, or its name.');
export const node = text('a node', 253).describe('Its name, or its id.');
export const subject = text('what it is', 300)
  .regex(/^(?:node|processor|template)\/[^/]+$/, { error: 'give node/NAME, processor/ID or template/SLUG' })
  .describe('node/NAME, processor/ID or template/SLUG.');

/** A length of time in Go's form within bounds. */
export const duration = (min: Millis, max: Millis, example: string) => {
  const error = `give a length of time such as ${example}`;
  return z.string({ error }).max(40, { error }).regex(durationPattern, { error, abort: true }).transform((given, context): Millis => {
    const parsed = parseDuration(given);
    if (parsed !== null && parsed >= min && parsed <= max) return millis(Math.round(parsed));
    context.issues.push({ code: 'custom', message: error, input: given });
    return z.NEVER;
  });
};

/** A moment as it is given out. */
export const moment = z.string().describe('ISO 8601, in UTC.');
