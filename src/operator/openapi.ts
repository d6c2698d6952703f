import { z } from 'zod';
import type { Operation } from './operation.ts';

/** The version of the routes, not of the program: it rises when a client must change. */
const apiVersion = '1.0.0';

type Json = Readonly<Record<string, unknown>>;

/** The OpenAPI 3.1 description of the operations: of their schemas, and of nothing that is written twice. `others`: paths beside them. */
export function openApiDocument(operations: readonly Operation[], others: Readonly<Record<string, Json>>): Json {
  const paths = new Map<string, Readonly<Record<string, unknown>>>(Object.entries(others));
  for (const operation of operations) {
    const path = operation.path.replaceAll(/:([A-Za-z]+)/g, '{$1}');
    paths.set(path, { ...paths.get(path), [operation.method.toLowerCase()]: describe(operation) });
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Dory',
      version: apiVersion,
      description: 'What operators see and do. The same operations are commands of the program. What changes state takes the bearer token of an operator; each change is recorded with its name.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths: Object.fromEntries([...paths].sort(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      securitySchemes: { operator: { type: 'http', scheme: 'bearer', description: '`dory token create` makes one; `dory node token create` those of edge nodes.' } },
      schemas: { Problem: problem },
      responses: { Problem: { description: 'It did not happen.', content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } } } },
    },
  };
}

function describe({ name, method, path, summary, changesState, confidential, input, output }: Operation): Json {
  const { properties = {}, required = [] } = schemaOf(input, 'input') as { properties?: Record<string, Json>; required?: readonly string[] };
  const inPath = [...path.matchAll(/:([A-Za-z]+)/g)].map(([, part = '']) => part);
  const left = Object.entries(properties).filter(([member]) => !inPath.includes(member));
  const inQuery = method === 'GET' || method === 'DELETE';
  const body = {
    type: 'object',
    properties: Object.fromEntries(left),
    required: required.filter((member) => !inPath.includes(member)),
    additionalProperties: false,
  };
  const parameters = [
    ...inPath.map((member) => parameter(member, 'path', properties[member] ?? {}, true)),
    ...(inQuery ? left.map(([member, schema]) => parameter(member, 'query', schema, required.includes(member))) : []),
  ];
  return {
    operationId: name,
    tags: [name.split('.')[0]],
    summary,
    security: changesState || confidential === true ? [{ operator: [] }] : [{}, { operator: [] }],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(inQuery ? {} : { requestBody: { required: body.required.length > 0, content: { 'application/json': { schema: body } } } }),
    responses: {
      200: { description: 'It is so.', content: { 'application/json': { schema: schemaOf(output, 'output') } } },
      ...Object.fromEntries(refusals(changesState).map((status) => [status, { $ref: '#/components/responses/Problem' }])),
    },
  };
}

/** Lists travel as `a,b`. */
function parameter(name: string, where: 'path' | 'query', { description, ...schema }: Json, required: boolean): Json {
  return { name, in: where, required, ...(description === undefined ? {} : { description }), ...(schema['type'] === 'array' ? { style: 'form', explode: false } : {}), schema };
}

function refusals(changesState: boolean): readonly string[] {
  return ['400', '401', '403', '404', ...(changesState ? ['409', '413'] : []), '503'];
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const described = z.toJSONSchema(schema, { io, override: ({ jsonSchema }) => { loosen(jsonSchema, io); } });
  return Object.fromEntries(Object.entries(described).filter(([member]) => member !== '$schema'));
}

/** A later version may answer with more; and that a whole number fits into one of JavaScript's says nothing. */
function loosen(schema: z.core.JSONSchema.BaseSchema, io: 'input' | 'output'): void {
  if (io === 'output' && schema.additionalProperties === false) delete schema.additionalProperties;
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
}

const problem: Json = {
  type: 'object',
  description: 'RFC 9457.',
  properties: {
    type: { type: 'string', format: 'uri' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string', description: 'For machines.' },
    mend: { type: 'string', description: 'What to do about it.' },
    problems: {
      type: 'array',
      items: { type: 'object', properties: { field: { type: 'string' }, value: { type: 'string' }, mend: { type: 'string' } }, required: ['field', 'value', 'mend'] },
    },
  },
  required: ['type', 'title', 'status', 'detail', 'code'],
};
