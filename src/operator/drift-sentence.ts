import { z } from 'zod';

/** Of events of the kind `drift`, as applying writes them. */
export const evidenceSchema = z.object({
  object: z.string(),
  action: z.enum(['corrected', 'reported']),
  deleted: z.boolean(),
  fields: z.array(z.string()),
  who: z.array(z.object({ manager: z.string(), operation: z.string(), when: z.string().nullable() })),
});

/** Enough to see what was done; `-o json` has all that was kept. */
const told = 3;

/** Who, what and when: `kubectl (Update, 2026-01-01T00:00:00Z) changed spec.replicas: put back`. */
export function driftSentence({ who, fields, deleted, action }: z.output<typeof evidenceSchema>): string {
  const culprits = who.map(({ manager, operation, when }) => `${manager} (${[operation, ...(when === null ? [] : [when])].join(', ')})`);
  const more = fields.length > told ? ` and ${String(fields.length - told)} more fields` : '';
  const what = deleted ? 'deleted it' : `changed ${fields.length === 0 ? 'fields of ours' : `${fields.slice(0, told).join(', ')}${more}`}`;
  const end = deleted ? 'created anew' : action === 'corrected' ? 'put back' : 'left as it is';
  return `${culprits.length === 0 ? 'somebody' : culprits.join(', ')} ${what}: ${end}`;
}
