import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { ProcessorSpec, Workload } from '../model/fleet.ts';
import type { Placement } from '../model/placement.ts';
import { reasonCodes, type ReasonCode } from '../model/reasons.ts';

/**
 * Our own values, as earlier decisions left them in JSON columns. They were written by this program, perhaps by another
 * version of it, and are parsed as anything else that comes from outside.
 */
const text = <T extends string>(): z.ZodType<T> => z.custom<T>((value) => typeof value === 'string', 'must be a string');
const whole = <T extends number>(): z.ZodType<T> => z.custom<T>((value) => Number.isSafeInteger(value), 'must be a whole number');

const envVar = z.union([
  z.strictObject({ name: z.string(), value: z.string() }),
  z.strictObject({ name: z.string(), secret: z.strictObject({ name: z.string(), key: z.string() }) }),
]);

const spec = z.strictObject({
  id: text<ProcessorSpec['id']>(),
  workload: text<ProcessorSpec['workload']>(),
  namespace: z.string(),
  home: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('edge'), nodeId: text<Extract<ProcessorSpec['home'], { kind: 'edge' }>['nodeId']>() }),
    z.strictObject({ kind: z.literal('managed') }),
  ]),
  sensor: z.strictObject({ id: text<NonNullable<ProcessorSpec['sensor']>['id']>(), type: z.string(), env: z.array(envVar) }).nullable(),
  secretVersions: z.string().exactOptional(),
  digest: text<ProcessorSpec['digest']>(),
});

const workload = z.strictObject({
  digest: text<Workload['digest']>(),
  templateId: text<Workload['templateId']>(),
  slug: z.string(),
  name: z.string(),
  version: z.string(),
  image: z.string(),
  imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']),
  command: z.array(z.string()),
  args: z.array(z.string()),
  port: z.number(),
  resources: z.strictObject({ cpuRequest: z.string(), memoryRequest: z.string(), cpuLimit: z.string(), memoryLimit: z.string(), gpuLimit: z.string().nullable() }),
  probes: z.strictObject({
    livenessPath: z.string(),
    readinessPath: z.string(),
    port: z.number(),
    initialDelaySec: z.number(),
    periodSec: z.number(),
    timeoutSec: z.number(),
    failureThreshold: z.number(),
  }),
  env: z.array(envVar),
  shutdownTimeoutSec: z.number(),
  stateBackend: z.enum(['configmap', 's3', 'local', 'pvc']),
  architectures: z.array(z.string()),
  security: z.strictObject({
    runAsNonRoot: z.boolean(),
    runAsUser: z.number().nullable(),
    runAsGroup: z.number().nullable(),
    fsGroup: z.number().nullable(),
    allowPrivilegeEscalation: z.boolean(),
    privileged: z.boolean(),
    readOnlyRootFilesystem: z.boolean(),
    addCapabilities: z.array(z.string()),
  }),
});

type EdgeTarget = Extract<Placement['target'], { kind: 'edge' }>;
const placement = z.strictObject({
  processorId: text<Placement['processorId']>(),
  epoch: whole<Placement['epoch']>(),
  target: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('edge'), nodeId: text<EdgeTarget['nodeId']>(), nodeName: text<EdgeTarget['nodeName']>() }),
    z.strictObject({ kind: z.literal('managed') }),
  ]),
  phase: z.enum(['active', 'stopping']),
  reason: z.enum(reasonCodes as readonly [ReasonCode, ...ReasonCode[]]),
  since: whole<Placement['since']>(),
  specDigest: text<Placement['specDigest']>(),
  revision: whole<Placement['revision']>(),
});

export const parseStoredSpec = (value: unknown): ProcessorSpec => parsed(spec, value, 'dory.changes.spec');
export const parseStoredWorkload = (value: unknown): Workload => parsed(workload, value, 'dory.workloads.body');
export const parseStoredPlacement = (value: unknown): Placement => parsed(placement, value, 'dory.changes.placement');

function parsed<T>(schema: z.ZodType<T>, value: unknown, column: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Failure('schema-incompatible', `A value in ${column} can't be read: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`, {
    mend: 'It was written by another version of dory: use that version, or a newer one.',
  });
}
