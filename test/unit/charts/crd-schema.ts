/** The part of OpenAPI v3 that CRDs use; rules in CEL are not evaluated. */
export interface CrdSchema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, CrdSchema>>;
  readonly additionalProperties?: CrdSchema | boolean;
  readonly items?: CrdSchema;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly 'x-kubernetes-int-or-string'?: boolean;
}

/** What a server with strict field validation would refuse, each with its path; empty if nothing. */
export function violations(schema: CrdSchema, value: unknown, path = ''): readonly string[] {
  if (schema['x-kubernetes-int-or-string'] === true) return isNumberOrText(value) && (typeof value === 'number' || matches(schema, value)) ? [] : [`${path}: ${String(value)}`];
  if (schema.enum !== undefined && !schema.enum.includes(value)) return [`${path}: none of ${schema.enum.join(', ')}`];
  switch (schema.type) {
    case 'object':
      return isRecord(value) ? ofObject(schema, value, path) : [`${path}: not an object`];
    case 'array':
      return Array.isArray(value) ? ofArray(schema, value, path) : [`${path}: not a list`];
    case 'string':
      return typeof value === 'string' && matches(schema, value) && value.length <= (schema.maxLength ?? Infinity) ? [] : [`${path}: ${String(value)}`];
    case 'integer':
      return Number.isInteger(value) && (value as number) >= (schema.minimum ?? -Infinity) && (value as number) <= (schema.maximum ?? Infinity) ? [] : [`${path}: ${String(value)}`];
    case 'boolean':
      return typeof value === 'boolean' ? [] : [`${path}: not true or false`];
    case undefined:
    default:
      return [`${path}: the schema has no type that this check knows`];
  }
}

function ofObject(schema: CrdSchema, value: Readonly<Record<string, unknown>>, path: string): readonly string[] {
  const missing = (schema.required ?? []).filter((key) => !(key in value)).map((key) => `${path}.${key}: missing`);
  const members = Object.entries(value).flatMap(([key, member]) => {
    const known = schema.properties?.[key] ?? schema.additionalProperties;
    if (known === undefined || known === false) return schema.properties === undefined ? [] : [`${path}.${key}: no such field`];
    return known === true ? [] : violations(known, member, `${path}.${key}`);
  });
  return [...missing, ...members];
}

function ofArray(schema: CrdSchema, value: readonly unknown[], path: string): readonly string[] {
  const { minItems = 0, maxItems = Infinity, items } = schema;
  const size = value.length >= minItems && value.length <= maxItems ? [] : [`${path}: ${String(value.length)} items`];
  return [...size, ...(items === undefined ? [] : value.flatMap((item, at) => violations(items, item, `${path}.${String(at)}`)))];
}

function matches({ pattern }: CrdSchema, value: string): boolean {
  return pattern === undefined || new RegExp(pattern).test(value);
}

const isNumberOrText = (value: unknown): value is number | string => typeof value === 'number' || typeof value === 'string';
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);
