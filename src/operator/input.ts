import { z } from 'zod';
import { problemOf } from '../http/heartbeat.ts';
import { Failure, type InputProblem } from '../model/failure.ts';

/** What came in, by member: texts of a query or a command line, or the members of a JSON body. */
export type RawInput = Readonly<Record<string, unknown>>;

/** @throws Failure `invalid-input` that names each member that is wrong, and how to mend it */
export function parseInput<Schema extends z.ZodObject>(schema: Schema, raw: unknown): z.output<Schema> {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap((issue) => problemsOf(issue, schema, raw));
  throw new Failure('invalid-input', problems.map(({ field, value, mend }) => `${field} (${value}): ${mend}.`).join(' '), { problems });
}

function problemsOf(issue: z.core.$ZodIssue, schema: z.ZodObject, raw: unknown): InputProblem[] {
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(schema.shape).join(', ');
    return issue.keys.map((field) => ({ field, value: 'unknown', mend: known === '' ? 'nothing is expected' : `expected are ${known}` }));
  }
  return [problemOf(issue, raw)];
}

/**
 * Texts as what the schema takes: numbers, booleans, lists (`a,b`, or a member several times). What can't be read stays a
 * text, to be reported.
 */
export function fromTexts(schema: z.ZodObject, texts: RawInput): RawInput {
  return Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, fromText(kindOf(schema, name), value)]));
}

type Kind = 'number' | 'boolean' | 'array' | 'other';

/** A member, and what is within `optional`, `default` and the like, from the outside in. */
function layersOf(schema: z.ZodObject, name: string): readonly z.core.$ZodType[] {
  if (!Object.hasOwn(schema.shape, name)) return [];
  const layers = [schema.shape[name] as z.core.$ZodType];
  for (;;) {
    const inner = layers.at(-1);
    if (inner instanceof z.ZodPipe) layers.push(inner.def.in);
    else if (inner instanceof z.ZodOptional || inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodNullable) layers.push(inner.unwrap());
    else return layers;
  }
}

/** What a member is for; empty if nobody said so. */
export function descriptionOf(schema: z.ZodObject, name: string): string {
  return layersOf(schema, name).map((layer) => z.globalRegistry.get(layer)?.description).find((text) => text !== undefined) ?? '';
}

/** What a member holds. */
export function kindOf(schema: z.ZodObject, name: string): Kind {
  const inner = layersOf(schema, name).at(-1);
  if (inner instanceof z.ZodNumber) return 'number';
  if (inner instanceof z.ZodBoolean) return 'boolean';
  return inner instanceof z.ZodArray ? 'array' : 'other';
}

function fromText(kind: Kind, value: unknown): unknown {
  if (kind === 'array') return (Array.isArray(value) ? value : [value]).flatMap((text: unknown) => (typeof text === 'string' ? text.split(',') : [text]));
  if (typeof value !== 'string') return value;
  if (kind === 'number') return /^-?\d+(?:\.\d+)?$/.test(value) ? Number(value) : value;
  if (kind === 'boolean' && /^(?:true|false)$/.test(value)) return value === 'true';
  return value;
}
