import { z } from 'zod';
import { millis, type Millis } from '../model/time.ts';
import type { FailReason, Retry } from './actions.ts';
import type { ObjectRef } from './objects.ts';

/** Why the server did not do it. */
export interface Refusal {
  readonly reason: FailReason;
  /** For a person: at most 300 characters, and no value of a Secret. */
  readonly detail: string;
  readonly retry: Retry;
  /** The same request may succeed in a moment. */
  readonly passing: boolean;
  /** How long the server asked to wait. */
  readonly retryAfter: Millis | null;
}

export interface RefusedAnswer {
  readonly status: number;
  readonly retryAfter: Millis | null;
  /** What the server says: a `Status`, or anything that stands between us and it. */
  readonly body: unknown;
}

type Verb = 'apply' | 'delete';

const causeSchema = z.object({ reason: z.string().catch(''), message: z.string().catch(''), field: z.string().catch('') });
const statusSchema = z.object({
  kind: z.literal('Status'),
  reason: z.string().catch(''),
  message: z.string().catch(''),
  details: z.object({ kind: z.string().catch(''), retryAfterSeconds: z.number().catch(0), causes: z.array(causeSchema).catch([]) }).catch({ kind: '', retryAfterSeconds: 0, causes: [] }),
});
type Status = z.output<typeof statusSchema>;

/** A field that is as it was made: all that is wrong, if such an object is to be made anew. */
const fixed = /is immutable|may not change|cannot change|for fields other than/;

interface Facts extends Status {
  readonly verb: Verb;
  readonly status: number;
  /** All that was said. */
  readonly words: string;
}

/**
 * What each refusal looks like, in order: the first that fits counts. By the causes and the reason that the server gives; where it gives
 * none (500 for a field that it does not know, say), by its words. By the status code alone only what is no `Status` at all.
 */
const kinds: readonly { readonly reason: FailReason; readonly retry: Retry; readonly passing?: true; readonly fits: (facts: Facts) => boolean }[] = [
  { reason: 'conflict', retry: 'later', fits: ({ details }) => details.causes.some(({ reason }) => reason === 'FieldManagerConflict') },
  { reason: 'immutable', retry: 'never', fits: ({ reason, message, details: { causes } }) => reason === 'Invalid' && (causes.length === 0 ? [message] : causes.map((cause) => cause.message)).every((words) => fixed.test(words)) },
  { reason: 'webhook', retry: 'later', fits: ({ words }) => /failed calling webhook|admission webhook ".*" denied|ValidatingAdmissionPolicy '.*' (with binding|denied)/s.test(words) },
  { reason: 'namespace-terminating', retry: 'later', fits: ({ details }) => details.causes.some(({ reason }) => reason === 'NamespaceTerminating') },
  { reason: 'namespace-missing', retry: 'later', fits: ({ reason, details }) => reason === 'NotFound' && details.kind === 'namespaces' },
  { reason: 'kind-unknown', retry: 'later', fits: ({ reason, words }) => reason === 'NotFound' && words.includes('could not find the requested resource') },
  { reason: 'quota', retry: 'later', fits: ({ reason, words }) => reason === 'Forbidden' && /exceeded quota|failed quota/.test(words) },
  { reason: 'forbidden', retry: 'later', fits: ({ reason }) => reason === 'Forbidden' || reason === 'Unauthorized' },
  { reason: 'throttled', retry: 'soon', passing: true, fits: ({ reason, status }) => reason === 'TooManyRequests' || status === 429 },
  { reason: 'precondition', retry: 'soon', fits: ({ reason, verb }) => verb === 'delete' && (reason === 'Conflict' || reason === 'NotFound') },
  // Somebody was faster: the same request takes in what they did.
  { reason: 'server', retry: 'soon', passing: true, fits: ({ reason }) => reason === 'Conflict' || reason === 'AlreadyExists' },
  { reason: 'invalid', retry: 'never', fits: ({ reason }) => ['Invalid', 'BadRequest', 'MethodNotAllowed', 'RequestEntityTooLarge', 'UnsupportedMediaType'].includes(reason) },
  { reason: 'invalid', retry: 'never', fits: ({ words }) => /failed to create typed|failed to convert new object/.test(words) },
  { reason: 'server', retry: 'soon', passing: true, fits: ({ status }) => status >= 500 },
];

/** @param verb what was asked for; @param ref of which object */
export function refusalOf(answer: RefusedAnswer, verb: Verb, ref: ObjectRef): Refusal {
  const parsed = statusSchema.safeParse(answer.body);
  const said = parsed.success ? parsed.data : { kind: 'Status' as const, reason: '', message: typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body), details: { kind: '', retryAfterSeconds: 0, causes: [] } };
  const facts: Facts = { ...said, verb, status: answer.status, words: [said.message, ...said.details.causes.map(({ message }) => message)].join('\n') };
  const { reason, retry, passing = false } = kinds.find(({ fits }) => fits(facts)) ?? { reason: 'server', retry: 'later' };
  const asked = said.details.retryAfterSeconds > 0 ? millis(said.details.retryAfterSeconds * 1000) : null;
  return { reason, retry, passing, detail: detailOf(facts, reason, ref), retryAfter: answer.retryAfter ?? asked };
}

/** Enough for a person. */
const longest = 300;
const causesTold = 5;

function detailOf({ status, message, reason: said, details: { causes } }: Facts, reason: FailReason, { kind }: ObjectRef): string {
  const told = causes.slice(0, causesTold);
  const more = causes.length > told.length ? [`and ${String(causes.length - told.length)} more`] : [];
  if (reason === 'conflict') return shortened([...told.map(({ message: words, field }) => `${words.replace('conflict with ', '')} owns ${field}`), ...more].join('; '));
  // What a server says of a value holds the value.
  if (kind === 'Secret') return shortened([`${String(status)} ${said}`.trim(), ...told.map((cause) => `${cause.reason} ${cause.field}`.trim())].join('; '));
  if (causes.length === 0 || causes.some(({ field }) => field === '')) return shortened(withoutValues(message));
  return shortened([...told.map(({ field, message: words }) => `${field}: ${withoutValues(words)}`), ...more].join('; '));
}

/** A whole pod is a value, and what is wrong with it stands after it; a diff of two stands at the end. */
function withoutValues(text: string): string {
  return text.replace(/Invalid value: [{[].*[}\]](: |$)/s, '').replace(/\n@@.*/s, '');
}

function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}
