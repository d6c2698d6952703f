import { millis, seconds, type Millis } from '../model/time.ts';
import type { Fleet } from '../model/fleet.ts';
import type { Credentials } from '../model/credentials.ts';
import { inBatches } from '../platform/pg.ts';
import type { Executor } from './execute.ts';
import type { SecretsKeeperOptions } from './secrets-keeper.ts';
import type { LiveSecret, Marker } from './secrets-live.ts';
import type { Lead, SecretsPass } from './secrets-looks.ts';
import { createMarkBook, type MarkBook } from './secrets-marks.ts';
import { ripe, surplusGrace, unusedOf, usesIn, type SurplusMemory } from './secrets-surplus.ts';
import { createTeller, type Teller } from './secrets-tell.ts';
import { beginVersions, raiseVersions, readVersions, stillRendered } from './secrets-versions.ts';
import { deleteSecrets, writeSecrets, type FilledWrite, type SecretOutcome, type SecretsWriter } from './secrets-write.ts';
import { neededSecrets, planSecrets, secretKey, type NeededSecret, type SecretGroup, type SecretSurplus, type SecretWrite } from './secrets.ts';

export interface PassOptions extends SecretsKeeperOptions {
  readonly mark: Marker;
  readonly live: ReadonlyMap<string, LiveSecret>;
  readonly executor: Executor;
}

/** Somebody who keeps changing a Secret of ours is met once a minute, not as fast as both can write. */
const fightPause = seconds(60);
/** A Secret that is somebody else's is not watched: it is looked at again and again, and ever more seldom. */
const refusalPause = { first: seconds(2), longest: seconds(1800) };
/** Longer than a watch takes to show what was written. */
const inFlightAtMost = seconds(30);
/** Groups whose values are held at once. */
const groupsAtOnce = 200;

interface Memory {
  fleet: Fleet | null;
  needed: readonly NeededSecret[];
  rows: string | null;
  readonly book: MarkBook;
  readonly teller: Teller;
  /** Written, and not seen in the watch yet: what was there before. */
  readonly inFlight: Map<string, { readonly name: string; readonly resourceVersion: string | null; readonly at: Millis }>;
  /** When a Secret was put back last. */
  readonly putBack: Map<string, Millis>;
  /** Somebody else's: when it is looked at again, and how long after the last time that is. */
  readonly foreign: Map<string, { readonly until: Millis; readonly pause: Millis }>;
  readonly surplus: SurplusMemory;
}

export function createPass(options: PassOptions): SecretsPass {
  const memory: Memory = {
    fleet: null, needed: [], rows: null, book: createMarkBook(options), teller: createTeller(options),
    inFlight: new Map(), putBack: new Map(), foreign: new Map(), surplus: { since: new Map(), nextAt: 0 as Millis },
  };
  return async (fleet, rows, lead) => {
    if (memory.fleet !== fleet) Object.assign(memory, { fleet, needed: neededSecrets(fleet) });
    if (memory.rows !== rows) {
      await memory.book.refresh();
      memory.rows = rows;
    }
    const { needed, book: { marks }, teller } = memory;
    const { groups, ahead, surplus } = planSecrets({ needed, marks, live: options.live, versions: await readVersions(options.pool) });
    for (const place of ahead) teller.problem(place, 'newer-on-cluster', newerOnCluster);
    teller.solvedBut(new Set([...ahead, ...groups.flatMap(({ writes }) => writes.map(secretKey)), ...surplus.map(({ live }) => secretKey(live))]));
    const fought = withoutFlying(options, memory, groups).map((group) => withoutFights(options, memory, group));
    const { due, withheld } = withoutForeign(options, memory, fought);
    const to: SecretsWriter = {
      writer: options.writer,
      executor: options.executor,
      pass: { signal: new AbortController().signal, assertLeading: lead.assertLeading, dryRun: false, objection: () => null, recreate: () => null },
    };
    const done = await writeGroups(options, memory, { due, withheld, to, lead });
    const kept = await removeSurplus(options, memory, { surplus, to });
    await teller.flush(lead.epoch);
    return { raised: done.raised, failed: done.failed, waiting: kept || countOf(due) < countOf(groups) };
  };
}

const newerOnCluster = 'a database that knew more wrote it, so it stays; to have it written from this one, take its annotation dory.io/secret-version away';

function countOf(groups: readonly SecretGroup[]): number {
  return groups.reduce((count, { writes }) => count + writes.length, 0);
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

/** What was written and is not seen yet would look as if it still had to be, and a version would be raised twice. */
function withoutFlying({ clock, live }: PassOptions, { inFlight }: Memory, groups: readonly SecretGroup[]): readonly SecretGroup[] {
  const flying = new Set<string>();
  for (const [place, { name, resourceVersion, at }] of [...inFlight]) {
    if ((live.get(place)?.resourceVersion ?? null) !== resourceVersion || clock.monotonic() - at > inFlightAtMost) inFlight.delete(place);
    else flying.add(name);
  }
  return groups.filter(({ name }) => !flying.has(name));
}

/** Without what was somebody else's a moment ago. `withheld`: the names of which some is left out. */
function withoutForeign({ clock }: PassOptions, { foreign }: Memory, groups: readonly SecretGroup[]): Pick<Work, 'due' | 'withheld'> {
  const now = clock.monotonic();
  const places = new Set(groups.flatMap(({ writes }) => writes.map(secretKey)));
  for (const place of [...foreign.keys()]) if (!places.has(place)) foreign.delete(place);
  const isDue = (write: SecretWrite): boolean => now >= (foreign.get(secretKey(write))?.until ?? 0);
  const withheld = new Set(groups.filter(({ writes }) => !writes.every(isDue)).map(({ name }) => name));
  return { withheld, due: groups.map((group) => ({ ...group, writes: group.writes.filter(isDue) })) };
}

interface Work {
  readonly due: readonly SecretGroup[];
  readonly withheld: ReadonlySet<string>;
  readonly to: SecretsWriter;
  readonly lead: Lead;
}

async function writeGroups(options: PassOptions, memory: Memory, { due, withheld, to, lead }: Work): Promise<{ readonly raised: boolean; readonly failed: boolean }> {
  const { pool } = options;
  let [raised, failed] = [false, withheld.size > 0];
  for (const groups of inBatches(due, groupsAtOnce)) {
    await beginVersions(pool, lead.epoch, groups.filter(({ version, known }) => version > known.begun));
    const writes = await fill(options, groups.flatMap((group) => group.writes));
    const outcomes = await writeSecrets(to, writes);
    outcomes.forEach((outcome) => { note(options, memory, outcome, writes); });
    const bad = new Set(outcomes.filter(({ kind }) => kind === 'failed' || kind === 'skipped' || kind === 'unknown').map(({ ref }) => ref.name));
    const complete = groups.filter(({ name, version, known }) => version > known.version && !bad.has(name) && !withheld.has(name));
    await raiseVersions(pool, lead.epoch, complete);
    for (const { name, version } of complete) memory.teller.replaced(name, version);
    raised ||= complete.length > 0;
    failed ||= bad.size > 0;
  }
  return { raised, failed };
}

/** With the values of now; a Secret whose rows went in the meantime has none, and is left for the next look. */
async function fill({ credentials, mark }: PassOptions, writes: readonly SecretWrite[]): Promise<readonly FilledWrite[]> {
  if (writes.length === 0) return [];
  const found = new Map<string, Credentials>();
  for await (const [name, values] of credentials([...new Set(writes.map(({ name }) => name))])) found.set(name, values);
  return writes.flatMap((write): FilledWrite[] => {
    const values = new Map([...(found.get(write.name) ?? [])].filter(([key]) => write.keys.includes(key)));
    const all = JSON.stringify([write.version, ...[...values].map(([key, value]) => [key, value.reveal()])]);
    return values.size === 0 ? [] : [{ ...write, values, mark: mark(Buffer.from(all, 'utf8')), drops: new Set() }];
  });
}

function note({ clock }: PassOptions, { teller, inFlight, putBack, foreign }: Memory, outcome: SecretOutcome, writes: readonly FilledWrite[]): void {
  const { kind, ref: { namespace, name } } = outcome;
  const place = secretKey({ namespace: namespace ?? '', name });
  teller.outcome(place, outcome);
  if (outcome.kind === 'skipped' && outcome.reason === 'not-ours') {
    const pause = millis(Math.min(refusalPause.longest, (foreign.get(place)?.pause ?? refusalPause.first / 2) * 2));
    foreign.set(place, { until: millis(clock.monotonic() + pause), pause });
  }
  if (kind !== 'created' && kind !== 'configured') return;
  const write = writes.find((each) => secretKey(each) === place);
  inFlight.set(place, { name, resourceVersion: write?.live?.resourceVersion ?? null, at: clock.monotonic() });
  if (write !== undefined && isPuttingBack(write)) putBack.set(place, clock.monotonic());
}

/** @returns whether some is left for later */
async function removeSurplus(options: PassOptions, memory: Memory, { surplus, to }: { readonly surplus: readonly SecretSurplus[]; readonly to: SecretsWriter }): Promise<boolean> {
  const { clock, client, pool, live } = options;
  const now = clock.monotonic();
  const old = ripe(memory.surplus, surplus, { now, all: live.size, needed: memory.needed.length });
  if (old.length === 0) return surplus.length > 0;
  memory.surplus.nextAt = (now + surplusGrace) as Millis;
  const unused = await unusedOf(old, { rendered: (names) => stillRendered(pool, names), inNamespace: (namespace) => usesIn(client, namespace) });
  const writes = await withoutKeys(options, memory, unused);
  const outcomes = [...(await deleteSecrets(to, unused.filter(({ keys }) => keys === null).map((each) => each.live))), ...(await writeSecrets(to, writes))];
  for (const outcome of outcomes) note(options, memory, outcome, writes);
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
