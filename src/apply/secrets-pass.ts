import type { Fleet } from '../model/fleet.ts';
import { seconds, type Millis } from '../model/time.ts';
import { inBatches } from '../platform/pg.ts';
import type { Credentials } from '../model/credentials.ts';
import type { Executor } from './execute.ts';
import type { SecretsKeeperOptions } from './secrets-keeper.ts';
import type { LiveSecret, Mark, Marker } from './secrets-live.ts';
import { isUsed, ripe, surplusGrace, usesIn, type SurplusMemory } from './secrets-surplus.ts';
import { beginVersions, raiseVersions, readVersions, stillRendered } from './secrets-versions.ts';
import { deleteSecrets, writeSecrets, type FilledWrite, type SecretOutcome, type SecretsWriter } from './secrets-write.ts';
import { neededSecrets, planSecrets, secretKey, type NeededSecret, type SecretGroup, type SecretSurplus, type SecretWrite } from './secrets.ts';

/** As whom the cluster is written. */
export interface Lead {
  /** `dory.leader.epoch`. */
  readonly epoch: number;
  /** @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
}

export interface PassResult {
  /** Manifests have to show other versions. */
  readonly raised: boolean;
  readonly failed: boolean;
  /** Something is left to do that only time brings. */
  readonly waiting: boolean;
}

export interface PassOptions extends SecretsKeeperOptions {
  readonly mark: Marker;
  readonly live: ReadonlyMap<string, LiveSecret>;
  readonly executor: Executor;
}

/** One look, and what it asks for. */
export type SecretsPass = (fleet: Fleet, rows: string, lead: Lead) => Promise<PassResult>;

/** Somebody who keeps changing a Secret of ours is met once a minute, not as fast as both can write. */
const fightPause = seconds(60);
/** Longer than a watch takes to show what was written. */
const inFlightAtMost = seconds(30);
/** Groups whose values are held at once. */
const groupsAtOnce = 200;

interface Memory {
  fleet: Fleet | null;
  needed: readonly NeededSecret[];
  rows: string | null;
  marks: ReadonlyMap<string, ReadonlyMap<string, Mark>>;
  /** Written, and not seen in the watch yet: what was there before. */
  readonly inFlight: Map<string, { readonly resourceVersion: string | null; readonly at: Millis }>;
  /** When a Secret was put back last. */
  readonly putBack: Map<string, Millis>;
  /** What was told of each Secret last: the same is told once. */
  readonly told: Map<string, string>;
  readonly surplus: SurplusMemory;
}

export function createPass(options: PassOptions): SecretsPass {
  const memory: Memory = { fleet: null, needed: [], rows: null, marks: new Map(), inFlight: new Map(), putBack: new Map(), told: new Map(), surplus: { since: new Map(), nextAt: 0 as Millis } };
  return async (fleet, rows, lead) => {
    if (memory.fleet !== fleet) Object.assign(memory, { fleet, needed: neededSecrets(fleet) });
    if (memory.rows !== rows) {
      memory.marks = await readMarks(options);
      memory.rows = rows;
    }
    const { groups, ahead, surplus } = planSecrets({ needed: memory.needed, marks: memory.marks, live: options.live, versions: await readVersions(options.pool) });
    for (const place of ahead) tell(options, memory, place, 'newer-on-cluster', 'a database that knew more wrote it; delete it to have it written from this one');
    const due = groups.filter((group) => !isInFlight(options, memory, group)).map((group) => withoutFights(options, memory, group));
    const to: SecretsWriter = {
      writer: options.writer,
      executor: options.executor,
      pass: { signal: new AbortController().signal, assertLeading: lead.assertLeading, dryRun: false, objection: () => null, mayRecreate: () => false },
    };
    const done = await writeGroups(options, memory, { due, to, lead });
    const kept = await removeSurplus(options, memory, { surplus, to });
    return { raised: done.raised, failed: done.failed, waiting: kept || countOf(due) < countOf(groups) };
  };
}

function countOf(groups: readonly SecretGroup[]): number {
  return groups.reduce((count, { writes }) => count + writes.length, 0);
}

/** Of all credentials: values are not kept. */
export async function readMarks({ credentials, mark }: Pick<PassOptions, 'credentials' | 'mark'>): Promise<Memory['marks']> {
  const marks = new Map<string, ReadonlyMap<string, Mark>>();
  for await (const [name, values] of credentials(null)) {
    marks.set(name, new Map([...values].map(([key, value]) => [key, mark(Buffer.from(value.reveal(), 'utf8'))])));
  }
  return marks;
}

/** Without what was put back a moment ago, and is otherwise again. */
function withoutFights({ clock }: PassOptions, { putBack }: Memory, group: SecretGroup): SecretGroup {
  const now = clock.monotonic();
  return { ...group, writes: group.writes.filter((write) => !isPuttingBack(write) || now - (putBack.get(secretKey(write)) ?? Number.NEGATIVE_INFINITY) >= fightPause) };
}

/** Nothing was replaced in the database: a key is new, or somebody changed it. */
function isPuttingBack({ live, version }: SecretWrite): boolean {
  return live !== null && live.version === version;
}

/** What was written would look as if it still had to be, and a version would be raised twice. */
function isInFlight({ clock, live }: PassOptions, { inFlight }: Memory, { name }: SecretGroup): boolean {
  let flying = false;
  for (const [place, { resourceVersion, at }] of [...inFlight]) {
    if ((live.get(place)?.resourceVersion ?? null) !== resourceVersion || clock.monotonic() - at > inFlightAtMost) inFlight.delete(place);
    else if (place.endsWith(`/${name}`)) flying = true;
  }
  return flying;
}

interface Work {
  readonly due: readonly SecretGroup[];
  readonly to: SecretsWriter;
  readonly lead: Lead;
}

async function writeGroups(options: PassOptions, memory: Memory, { due, to, lead }: Work): Promise<{ readonly raised: boolean; readonly failed: boolean }> {
  const { pool } = options;
  let [raised, failed] = [false, false];
  for (const groups of inBatches(due, groupsAtOnce)) {
    await beginVersions(pool, lead.epoch, groups.filter(({ version, known }) => version > known.begun));
    const writes = await fill(options, groups.flatMap((group) => group.writes));
    const outcomes = await writeSecrets(to, writes);
    outcomes.forEach((outcome) => { note(options, memory, outcome, writes); });
    const bad = new Set(outcomes.filter(({ kind }) => kind === 'failed' || kind === 'skipped' || kind === 'unknown').map(({ ref }) => ref.name));
    const complete = groups.filter(({ name, version, known }) => version > known.version && !bad.has(name));
    await raiseVersions(pool, lead.epoch, complete);
    if (complete.length > 0) options.log.info({ secrets: complete.map(({ name, version }) => `${name} ${String(version)}`) }, 'credentials were replaced: their pods restart');
    raised ||= complete.length > 0;
    failed ||= bad.size > 0;
  }
  return { raised, failed };
}

/** With the values of now; a Secret whose rows went in the meantime has none, and is left for the next look. */
async function fill({ credentials, mark }: PassOptions, writes: readonly SecretWrite[]): Promise<readonly FilledWrite[]> {
  const found = new Map<string, Credentials>();
  for await (const [name, values] of credentials([...new Set(writes.map(({ name }) => name))])) found.set(name, values);
  return writes.flatMap((write): FilledWrite[] => {
    const values = new Map([...(found.get(write.name) ?? [])].filter(([key]) => write.keys.includes(key)));
    const all = JSON.stringify([write.version, ...[...values].map(([key, value]) => [key, value.reveal()])]);
    return values.size === 0 ? [] : [{ ...write, values, mark: mark(Buffer.from(all, 'utf8')), drops: new Set() }];
  });
}

function note(options: PassOptions, memory: Memory, outcome: SecretOutcome, writes: readonly FilledWrite[]): void {
  const write = writes.find(({ namespace, name }) => namespace === outcome.ref.namespace && name === outcome.ref.name);
  const place = `${outcome.ref.namespace ?? ''}/${outcome.ref.name}`;
  if (outcome.kind === 'created' || outcome.kind === 'configured') {
    const at = options.clock.monotonic();
    memory.inFlight.set(place, { resourceVersion: write?.live?.resourceVersion ?? null, at });
    if (write !== undefined && isPuttingBack(write)) memory.putBack.set(place, at);
    memory.told.delete(place);
    options.log.info({ object: place, keys: write?.keys }, `Secret ${outcome.kind}`);
  } else if (outcome.kind === 'skipped' || outcome.kind === 'failed') {
    // The watch is behind by a moment: nothing to tell anybody.
    if (outcome.reason !== 'partial-knowledge') tell(options, memory, place, outcome.reason, outcome.detail);
  } else if (outcome.kind === 'unknown') {
    tell(options, memory, place, 'unknown', outcome.detail);
  }
}

/** The same of one Secret is told once. */
function tell({ log }: PassOptions, { told }: Memory, place: string, reason: string, detail: string): void {
  if (told.get(place) === reason) return;
  told.set(place, reason);
  log.warn({ object: place, reason, detail }, 'a Secret is not as it should be');
}

/** @returns whether some is left for later */
async function removeSurplus(options: PassOptions, memory: Memory, { surplus, to }: { readonly surplus: readonly SecretSurplus[]; readonly to: SecretsWriter }): Promise<boolean> {
  const { clock, client, pool, live } = options;
  const now = clock.monotonic();
  const old = ripe(memory.surplus, surplus, { now, all: live.size, needed: memory.needed.length });
  if (old.length === 0) return surplus.length > 0;
  memory.surplus.nextAt = (now + surplusGrace) as Millis;
  const unused: SecretSurplus[] = [];
  for (const each of old) {
    const places = (each.keys ?? [null]).map((key) => ({ namespace: each.live.namespace, name: each.live.name, key }));
    if ((await stillRendered(pool, places)).includes(true)) continue;
    if (!isUsed(each, await usesIn(client, each.live.namespace))) unused.push(each);
  }
  const outcomes = [...(await deleteSecrets(to, unused.filter(({ keys }) => keys === null).map((each) => each.live))), ...(await writeSecrets(to, await withoutKeys(options, memory, unused)))];
  for (const outcome of outcomes) {
    note(options, memory, outcome, []);
    if (outcome.kind === 'pruned') options.log.info({ object: `${outcome.ref.namespace ?? ''}/${outcome.ref.name}` }, 'Secret removed: nothing needs it any more');
  }
  return true;
}

/** Secrets that stay, to be written once more without the keys that go. */
async function withoutKeys(options: PassOptions, memory: Memory, unused: readonly SecretSurplus[]): Promise<readonly FilledWrite[]> {
  const drops = new Map(unused.flatMap(({ live, keys }) => (keys === null ? [] : [[secretKey(live), keys] as const])));
  const writes = memory.needed.flatMap(({ namespace, name, keys }): SecretWrite[] => {
    const live = options.live.get(secretKey({ namespace, name })) ?? null;
    return live === null || !drops.has(secretKey(live)) ? [] : [{ namespace, name, keys, version: live.version, live }];
  });
  return (await fill(options, writes)).map((write) => ({ ...write, drops: new Set(drops.get(secretKey(write))) }));
}
