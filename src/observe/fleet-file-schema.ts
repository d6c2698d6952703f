import { z } from 'zod';
import { durationPattern } from '../platform/durations.ts';

/** The fleet file, as a person writes it. Published as `config/fleet.schema.json`. */

const error = (expected: string) => ({ error: `must be ${expected}` });
const text = z.string(error('text (put it in quotes)')).min(1, error('text, not empty'));
const flag = z.boolean(error('true or false'));
const uuid = z.uuid(error('a uuid'));
const duration = z.string(error('a duration such as 30s, 1m30s or 2h')).regex(durationPattern, error('a duration such as 30s, 1m30s or 2h'));
const json = z.record(z.string(), z.unknown(), error('a map'));
const listOf = <T extends z.ZodType>(item: T) => z.array(item, error('a list')).default([]);

const id = uuid.optional().describe('The row\'s id; made from the name where absent.');

const template = z.strictObject({
  slug: text.describe('A DNS label; processors refer to it.'),
  id,
  name: text.optional().describe('For people; the slug where absent.'),
  version: text.optional().describe('The active version; none is active where absent.'),
  image: text.default('').describe('image_uri: [registry/]repository[:tag].'),
  digest: text.optional().describe('sha256:… of the image.'),
  runtimeConfig: z.union([json, z.string()], error('a map')).default({}).describe('runtime_config_template, with the same keys as in the database.'),
  buildConfig: json.optional().describe('build_config.'),
});

const sensor = z.strictObject({
  name: text.describe('Processors refer to it.'),
  id,
  type: text,
  connectionConfig: json.default({}).describe('connection_config: what becomes environment variables. Credentials become references.'),
  metadata: json.optional(),
});

const app = z.strictObject({
  template: text.describe("A template's slug."),
  failoverEnabled: flag.optional().describe("Overrides the node's switch for this template."),
  stateStoragePath: text.optional(),
});

const node = z.strictObject({
  name: text.describe("The Kubernetes Node's name."),
  id,
  organization: text.optional().describe('A name, or a uuid.'),
  site: text.optional().describe('Where it stands; the fleet guard tells the outage of one site from that of many nodes.'),
  failoverEnabled: flag.default(true),
  failoverTarget: text.optional().describe('The node that takes its processors first.'),
  decommissioned: flag.default(false),
  heartbeatAge: z.union([duration, z.literal('never')], error('a duration such as 5s, or never')).default('0s').describe('How long ago its newest heartbeat came.'),
  verdict: z.enum(['healthy', 'returning', 'lost', 'unknown', 'decommissioned']).optional().describe('What was recorded of it last; nothing where absent.'),
  verdictAge: duration.default('1h').describe('Since when that verdict holds.'),
  architecture: text.optional().describe('amd64, arm64, …; unknown where absent.'),
  gpu: flag.optional().describe('Unknown where absent.'),
  apps: listOf(app).describe('Rows of edge_node_apps.'),
});

const placement = z.strictObject({
  target: text.describe("A node's name, or managed."),
  epoch: z.int(error('a whole number, 1 or more')).min(1, error('a whole number, 1 or more')).default(1),
  phase: z.enum(['active', 'stopping']).default('active'),
  since: duration.default('1h').describe('How long ago it was decided.'),
  lastBeatAge: duration.optional().describe('While it is stopping: how long ago its agent was heard; never where absent.'),
});

const processor = z
  .strictObject({
    name: text.optional(),
    id: uuid.optional(),
    template: text.describe("A template's slug."),
    node: text.default('managed').describe("Its home: a node's name, or managed."),
    sensor: text.optional().describe("A sensor's name."),
    namespace: text.optional(),
    current: z.union([z.literal('home'), placement], error('home, or a map with a target')).optional().describe('Where it runs now; nowhere where absent.'),
  })
  .refine(({ name, id: given }) => name !== undefined || given !== undefined, { error: 'must have a name or an id' });

export const fleetFileSchema = z
  .strictObject({
    now: z.iso.datetime({ offset: true, ...error('a time such as 2026-01-01T00:00:00Z') }).default('2026-01-01T00:00:00Z').describe('The moment that ages count back from.'),
    placed: flag.default(false).describe('Every processor runs at its home, unless it says otherwise.'),
    policy: z
      .strictObject({
        heartbeatStale: duration,
        stabilityWindow: duration,
        heartbeatGap: duration,
        intakeFresh: duration,
        fenceMargin: duration,
        managedPool: z.strictObject({ architectures: z.array(text), gpu: flag }).partial(),
      })
      .partial()
      .default({})
      .describe('Thresholds that differ from the settings.'),
    templates: listOf(template),
    sensors: listOf(sensor),
    nodes: listOf(node).describe('Edge nodes.'),
    processors: listOf(processor),
  })
  .describe('A fleet for `dory plan --fleet` and `dory render --fleet`: what the tables would hold, and who is alive.');

export type FleetFile = z.output<typeof fleetFileSchema>;

/** JSON Schema (draft 2020-12) of the file, for editors. */
export function fleetJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(fleetFileSchema, { io: 'input' });
  return { $schema, title: 'Fleet file of dory', ...schema };
}
