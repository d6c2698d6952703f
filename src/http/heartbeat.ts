import { z } from 'zod';
import { uuid, type NodeId, type ProcessorId } from '../model/ids.ts';

/** One heartbeat, parsed. Fields that were absent are null. */
export interface Beat {
  readonly subject: BeatSubject;
  /** The node that it names: at most one of the two is set. */
  readonly nodeId: NodeId | null;
  readonly nodeName: string | null;
  /** Whether a token proved where it comes from: then nothing else that it says of that counts. */
  readonly proven: boolean;
  readonly status: string | null;
  readonly role: string | null;
  /** The SDK's own fencing counter: kept and shown, never compared. */
  readonly sdkEpoch: number | null;
  /** Our epoch, echoed by agents that know it. */
  readonly placementEpoch: number | null;
  /** Unix seconds. */
  readonly lastStateSync: number | null;
  readonly stateSizeBytes: number | null;
  readonly uptimeSec: number | null;
}

/** `stranger`: an id that no row of ours can have, since ours are uuids. */
type BeatSubject =
  | { readonly kind: 'processor'; readonly id: ProcessorId }
  | { readonly kind: 'stranger' }
  | { readonly kind: 'node' };

type Directive = 'continue' | 'shutdown';

/**
 * Where a heartbeat comes from, as the statement that stores it sees it:
 * `node` no processor named; `unknown` no such row; `ended` terminated or failed; `unplaced` nothing decided yet;
 * `current` and `stopping` from the current placement in that phase; `stale` from where the processor should no longer be;
 * `ahead` echoes an epoch above ours, so the database is behind; `unstored` nobody could ask.
 */
export const standings = ['node', 'unknown', 'ended', 'unplaced', 'current', 'stopping', 'stale', 'ahead', 'unstored'] as const;
export type Standing = (typeof standings)[number];

/** What an agent is told. A database that is down or behind stops nobody. */
export const directives: Readonly<Record<Standing, Directive>> = {
  node: 'continue',
  unknown: 'shutdown',
  ended: 'shutdown',
  unplaced: 'continue',
  current: 'continue',
  stopping: 'shutdown',
  stale: 'shutdown',
  ahead: 'continue',
  unstored: 'continue',
};

/** For the agent's log, where the directive alone would be a riddle. */
export const messages: Readonly<Partial<Record<Standing, string>>> = {
  unknown: 'no such processor',
  ended: 'the processor is terminated or failed',
  stopping: 'the processor is moving; stop, and report status "stopped"',
  stale: 'the processor runs elsewhere now',
  ahead: 'the epoch is above the database\'s',
  unstored: 'not stored: the database can\'t be written',
};

export interface HeartbeatAnswer {
  readonly standing: Standing;
  /** Of the current placement, for who beats from there; null for all others. */
  readonly placementEpoch: number | null;
  /** How long, counted from when the beat was sent, an agent that honours leases may go on without another answer; null: no lease. */
  readonly leaseSec: number | null;
}

/** What is wrong with a request, and how to mend it. */
export interface FieldProblem {
  readonly field: string;
  /** What was sent, as JSON, at most 80 characters. */
  readonly value: string;
  readonly mend: string;
}

export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly FieldProblem[] };

/** The year 9999: what PostgreSQL and everybody else can still print. */
const lastSecond = 253_402_300_799;

/** PostgreSQL's text holds no NUL, and a limit keeps one beat from filling a row. */
export const text = (max: number) => {
  const error = `Send a text of at most ${String(max)} characters without NUL, or leave it out.`;
  return z.string({ error }).max(max, { error }).refine((value) => !value.includes('\0'), { error });
};
const whole = (min: number) => {
  const error = `Send a whole number from ${String(min)}, or null.`;
  return z.int({ error }).min(min, { error });
};
const quantity = (max: number, unit: string) => {
  const error = `Send a number of ${unit} from 0, or null.`;
  return z.number({ error }).min(0, { error }).max(max, { error });
};

export const beatSchema = z.object(
  {
    processor_id: text(255).nullish(),
    // 253 is the longest name of a Kubernetes node.
    node_id: text(253).nullish(),
    role: text(64).nullish(),
    epoch: whole(0).nullish(),
    timestamp: quantity(lastSecond, 'seconds since 1970').nullish(),
    status: text(64).nullish(),
    last_state_sync: quantity(lastSecond, 'seconds since 1970').nullish(),
    state_size_bytes: whole(0).nullish(),
    uptime_sec: quantity(Number.MAX_VALUE, 'seconds').nullish(),
    placement_epoch: whole(1).nullish(),
  },
  { error: 'Send a JSON object.' },
);

/** Reads the body of a heartbeat. Unknown fields are left out: other versions of the SDK may send them. */
export function parseBeat(body: unknown): Parsed<Beat> {
  const parsed = beatSchema.safeParse(body);
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error, body) };
  const { processor_id, node_id, ...sent } = parsed.data;
  return {
    ok: true,
    value: {
      subject: subjectOf(processor_id ?? ''),
      ...nodeOf(node_id ?? ''),
      proven: false,
      status: sent.status ?? null,
      role: sent.role ?? null,
      sdkEpoch: sent.epoch ?? null,
      placementEpoch: sent.placement_epoch ?? null,
      lastStateSync: sent.last_state_sync ?? null,
      stateSizeBytes: sent.state_size_bytes ?? null,
      uptimeSec: sent.uptime_sec ?? null,
    },
  };
}

/** The SDK says "unknown" where it can't tell its node. */
function nodeOf(node: string): Pick<Beat, 'nodeId' | 'nodeName'> {
  if (node === '' || node === 'unknown') return { nodeId: null, nodeName: null };
  return uuid.test(node) ? { nodeId: node.toLowerCase() as NodeId, nodeName: null } : { nodeId: null, nodeName: node };
}

function subjectOf(id: string): BeatSubject {
  if (id === '') return { kind: 'node' };
  return uuid.test(id) ? { kind: 'processor', id: id.toLowerCase() as ProcessorId } : { kind: 'stranger' };
}

/** Every problem that zod found, with the value at its path. */
export function problemsOf(error: z.ZodError, body: unknown): FieldProblem[] {
  return error.issues.map((issue) => problemOf(issue, body));
}

/** One of them. */
export function problemOf({ path, message }: z.core.$ZodIssue, body: unknown): FieldProblem {
  return { field: path.map(String).join('.') || 'body', value: shown(path.reduce<unknown>(memberOf, body)), mend: message };
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<PropertyKey, unknown>>)[key] : undefined;
}

function shown(value: unknown): string {
  const json = value === undefined ? 'nothing' : JSON.stringify(value);
  return json.length <= 80 ? json : `${json.slice(0, 79)}…`;
}
