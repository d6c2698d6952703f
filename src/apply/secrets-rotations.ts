import type { Fleet } from '../model/fleet.ts';
import { Failure } from '../model/failure.ts';
import { millis, type Millis } from '../model/time.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { objectSchema } from '../platform/kube/object.ts';
import { inBatches } from '../platform/pg.ts';
import type { SecretsKeeper } from './secrets-keeper.ts';
import { markerOf, readValues, type Marker } from './secrets-live.ts';
import { createLooks, type LooksOptions, type SecretsPass } from './secrets-looks.ts';
import { createMarkBook, type CredentialSource, type MarkBook } from './secrets-marks.ts';
import { createTeller, type Teller, type TellerOptions } from './secrets-tell.ts';
import { beginVersions, raiseVersions, readVersions } from './secrets-versions.ts';
import { neededSecrets, type NeededSecret, type SecretVersion } from './secrets.ts';

/**
 * Where somebody else writes the Secrets. A value that is replaced in the database while this program looks begins a version; the
 * version is shown by manifests, and restarts the pods, when the Secret has the values: as the cluster shows it, or, without one, as a
 * person says it (`dory secrets --replaced`). Sooner, they would only start again with what they had.
 */
export interface RotationsOptions extends CredentialSource, TellerOptions, LooksOptions {
  /** Null without a cluster. */
  readonly client: KubeClient | null;
}

/** No manifest waits for it. */
const patience = millis(0);
/** Secrets that are asked for in one look, and at once. */
const mostAsked = 200;
const asksAtOnce = 16;

interface Memory {
  fleet: Fleet | null;
  readonly needed: Map<string, readonly NeededSecret[]>;
  rows: string | null;
  /** Replaced, and not recorded so yet. */
  readonly replaced: Set<string>;
  /** When each was asked for last, on the monotonic clock. */
  readonly asked: Map<string, Millis>;
}

export function createRotationsKeeper(options: RotationsOptions): SecretsKeeper {
  const { client } = options;
  const looks = createLooks(options, createRotationsPass({ ...options, mark: markerOf(options.random) }), patience);
  return {
    start: () => undefined,
    synced: () => Promise.resolve(true),
    keep: (fleet, rows, lead) => looks.look(fleet, rows, lead),
    close: async () => {
      await looks.settled();
      client?.close();
    },
  };
}

function createRotationsPass(options: RotationsOptions & { readonly mark: Marker }): SecretsPass {
  const { pool } = options;
  const [book, teller] = [createMarkBook(options), createTeller(options)];
  const memory: Memory = { fleet: null, needed: new Map(), rows: null, replaced: new Set(), asked: new Map() };
  return async (fleet, rows, lead) => {
    if (memory.fleet !== fleet) {
      memory.fleet = fleet;
      memory.needed.clear();
      for (const secret of neededSecrets(fleet)) memory.needed.set(secret.name, [...(memory.needed.get(secret.name) ?? []), secret]);
    }
    if (memory.rows !== rows) {
      for (const name of await book.refresh()) memory.replaced.add(name);
      memory.rows = rows;
    }
    await beginReplaced(teller, memory, options, lead.epoch);
    const pending = [...(await readVersions(pool))].filter(([name, { version, begun }]) => begun > version && memory.needed.has(name));
    const there = options.client === null ? [] : await seenIn(options.client, options, { book, memory, pending });
    await raiseVersions(pool, lead.epoch, there);
    for (const { name, version } of there) teller.replaced(name, version);
    await teller.flush(lead.epoch);
    return { raised: there.length > 0, failed: false, waiting: options.client !== null && there.length < pending.length };
  };
}

/** Recorded before anything else comes of it, so that it is not forgotten with this process. */
async function beginReplaced(teller: Teller, memory: Memory, { pool }: RotationsOptions, leaderEpoch: number): Promise<void> {
  const replaced = [...memory.replaced].filter((name) => memory.needed.has(name));
  memory.replaced.clear();
  if (replaced.length === 0) return;
  for (const name of replaced) memory.replaced.add(name);
  const versions = await readVersions(pool);
  const begun = replaced.flatMap((name) => {
    const known = versions.get(name) ?? { version: 1, begun: 1 };
    return known.begun > known.version ? [] : [{ name, version: known.version + 1 }];
  });
  await beginVersions(pool, leaderEpoch, begun);
  memory.replaced.clear();
  for (const { name, version } of begun) teller.pending(name, version);
}

interface Pending {
  readonly book: MarkBook;
  readonly memory: Memory;
  readonly pending: readonly (readonly [string, SecretVersion])[];
}

/** Of what is pending, what the cluster has in each namespace that needs it. Those that were not asked for the longest come first. */
async function seenIn(client: KubeClient, { clock, mark }: RotationsOptions & { readonly mark: Marker }, { book, memory, pending }: Pending): Promise<readonly { readonly name: string; readonly version: number }[]> {
  const names = new Set(pending.map(([name]) => name));
  for (const name of [...memory.asked.keys()]) if (!names.has(name)) memory.asked.delete(name);
  const next = [...pending].sort(([a], [b]) => (memory.asked.get(a) ?? -1) - (memory.asked.get(b) ?? -1)).slice(0, mostAsked);
  const seen: { readonly name: string; readonly version: number }[] = [];
  for (const batch of inBatches(next, asksAtOnce)) {
    await Promise.all(batch.map(async ([name, { begun }]) => {
      memory.asked.set(name, clock.monotonic());
      if (await isThere(client, mark, { wanted: book.marks.get(name) ?? new Map<string, string>(), places: memory.needed.get(name) ?? [] })) seen.push({ name, version: begun });
    }));
  }
  return seen;
}

interface Wanted {
  readonly wanted: ReadonlyMap<string, string>;
  readonly places: readonly NeededSecret[];
}

async function isThere(client: KubeClient, mark: Marker, { wanted, places }: Wanted): Promise<boolean> {
  for (const { namespace, name, keys } of places) {
    try {
      const { body } = await client.get(`/api/v1/namespaces/${namespace}/secrets/${name}`, {});
      const values = readValues(objectSchema.parse(body), mark);
      if (!keys.every((key) => !wanted.has(key) || values.get(key) === wanted.get(key))) return false;
    } catch (error) {
      if (error instanceof Failure && error.code === 'kubernetes-missing') return false;
      throw error;
    }
  }
  return true;
}
