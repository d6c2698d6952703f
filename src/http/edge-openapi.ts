import { z } from 'zod';
import { beatSchema } from './heartbeat.ts';
import { referenceSchema, registrationSchema } from './nodes.ts';

type Json = Readonly<Record<string, unknown>>;

const text = { type: 'string' };
const orNull = (type: string, description?: string): Json => ({ type: [type, 'null'], ...(description === undefined ? {} : { description }) });

const answer: Json = {
  type: 'object',
  properties: {
    acknowledged: { const: true },
    orchestrator_time: { type: 'number', description: 'Unix seconds.' },
    directive: { enum: ['continue', 'shutdown'] },
    placement_epoch: orNull('integer', 'Of the placement that this agent stands for; to be sent back with the next beat.'),
    lease_sec: orNull('number', 'So long an agent that honours leases may go on, counted from when it sent this beat; null: no lease is given.'),
    message: { ...text, description: 'For the agent\'s log.' },
  },
  required: ['acknowledged', 'orchestrator_time', 'directive', 'placement_epoch', 'lease_sec'],
};

const node: Json = {
  type: 'object',
  properties: {
    id: { type: 'string', format: 'uuid' },
    organization_id: orNull('string'),
    name: text,
    status: text,
    failover_enabled: orNull('boolean'),
    failover_target_node_id: orNull('string'),
    last_heartbeat_at: orNull('string'),
  },
};

/** The form of the running system; the operators' routes answer errors as RFC 9457 says. */
const refusal: Json = {
  type: 'object',
  properties: {
    error: { ...text, description: 'For machines.' },
    message: text,
    problems: { type: 'array', items: { type: 'object', properties: { field: text, value: text, mend: text } } },
  },
  required: ['error', 'message'],
};

/** The routes of the running system, for the OpenAPI document: their bodies are those that the server checks. */
export const edgePaths: Readonly<Record<string, Json>> = {
  '/api/v1/edge/heartbeat': { post: route('edge.heartbeat', 'a sign of life of a processor or a node', beatSchema, { 200: [answer, 'It was heard; the directive says what to do.'] }, ['400', '401', '403', '413']) },
  '/api/v1/edge/nodes': {
    post: route('edge.register', 'take an edge node into service', registrationSchema, { 200: [node, 'It is in service already.'], 201: [node, 'It is in service.'] }, ['400', '401', '403', '409', '413', '503']),
  },
  '/api/v1/edge/nodes/decommission': {
    post: route('edge.decommission', 'take an edge node out of service, for good', referenceSchema, { 200: [node, 'Its processors leave.'] }, ['400', '401', '403', '404', '409', '413', '503']),
  },
};

function route(operationId: string, summary: string, body: z.ZodType, good: Readonly<Record<string, readonly [Json, string]>>, bad: readonly string[]): Json {
  const schema = Object.fromEntries(Object.entries(z.toJSONSchema(body, { io: 'input' })).filter(([member]) => member !== '$schema'));
  const content = (of: Json): Json => ({ 'application/json': { schema: of } });
  return {
    operationId,
    tags: ['edge'],
    summary,
    security: [{}, { operator: [] }],
    requestBody: { required: true, content: content(schema) },
    responses: {
      ...Object.fromEntries(Object.entries(good).map(([status, [of, description]]) => [status, { description, content: content(of) }])),
      ...Object.fromEntries(bad.map((status) => [status, { description: 'It was refused.', content: content(refusal) }])),
    },
  };
}
