import type { EnvVar, Fleet } from '../model/fleet.ts';
import { byText } from '../model/ids.ts';
import { isOurSecret, type LiveSecret, type Mark } from './secrets-live.ts';

/**
 * Which Secrets the fleet needs, and what to do about those that are there: pure.
 *
 * A Secret is written from the database, by server-side apply. What was written last is not remembered anywhere: the values of
 * the keys that our field manager still owns are what we wrote. So a value of ours that differs from the database's was
 * *replaced* there, which raises the version and so restarts the pods; a key that we don't own (it is new, or somebody changed
 * it) is only written. Values are compared by marks, made with a key that lives as long as the process.
 *
 * The order is: `begun` in the database, the Secret (which bears the version), `version` in the database, the manifest. A crash in
 * between is met by the next look: what is not written is still different, and a version that the Secret shows and the
 * database does not is taken over. A Secret with a version beyond `begun` was written by a database that is gone: ours was
 * restored from a backup, and its credentials may be older than what runs.
 */
export interface NeededSecret {
  readonly namespace: string;
  readonly name: string;
  /** Sorted. */
  readonly keys: readonly string[];
}

export interface SecretVersion {
  readonly version: number;
  readonly begun: number;
}

export interface SecretsView {
  readonly needed: readonly NeededSecret[];
  /** What the database has, by the Secret's name; a key that is not there has no value. */
  readonly marks: ReadonlyMap<string, ReadonlyMap<string, Mark>>;
  /** By `namespace/name`: Secrets with our label. */
  readonly live: ReadonlyMap<string, LiveSecret>;
  /** Of Secrets whose values were ever replaced. */
  readonly versions: ReadonlyMap<string, SecretVersion>;
}

/** One Secret to be written, so far without its values. */
export interface SecretWrite {
  readonly namespace: string;
  readonly name: string;
  readonly keys: readonly string[];
  readonly version: number;
  /** Null to create it. */
  readonly live: LiveSecret | null;
}

/** All that is to be done about the Secrets of one name. */
export interface SecretGroup {
  readonly name: string;
  readonly version: number;
  /** What the database has before. */
  readonly known: SecretVersion;
  /** Sorted by namespace; none where only the database has to learn of a version. */
  readonly writes: readonly SecretWrite[];
}

/** What is of ours and nothing needs any more: a Secret, or keys of one that stays. */
export interface SecretSurplus {
  readonly live: LiveSecret;
  /** Sorted; null: all of it. */
  readonly keys: readonly string[] | null;
}

export interface SecretsPlan {
  /** Sorted by name. */
  readonly groups: readonly SecretGroup[];
  /** Sorted: `namespace/name` of those that a database wrote which knew more than ours. */
  readonly ahead: readonly string[];
  /** Sorted. */
  readonly surplus: readonly SecretSurplus[];
}

export const secretKey = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string => `${namespace}/${name}`;

/** Also those of quarantined processors, as they were rendered last: they may still have to move. Sorted by namespace, then name. */
export function neededSecrets(fleet: Fleet): readonly NeededSecret[] {
  const ofWorkload = new Map(fleet.workloads.map(({ digest, env }) => [digest, references(env)]));
  const needed = new Map<string, { readonly namespace: string; readonly name: string; readonly keys: Set<string> }>();
  const specs = [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])];
  for (const { namespace, workload, sensor } of specs) {
    for (const { name, key } of [...(ofWorkload.get(workload) ?? []), ...references(sensor?.env ?? [])]) {
      const at = secretKey({ namespace, name });
      const secret = needed.get(at) ?? { namespace, name, keys: new Set() };
      secret.keys.add(key);
      needed.set(at, secret);
    }
  }
  return [...needed.values()]
    .map(({ namespace, name, keys }) => ({ namespace, name, keys: [...keys].sort(byText) }))
    .sort((a, b) => byText(a.namespace, b.namespace) || byText(a.name, b.name));
}

function references(env: readonly EnvVar[]): readonly { readonly name: string; readonly key: string }[] {
  return env.flatMap((each) => ('secret' in each ? [each.secret] : []));
}

const never: SecretVersion = { version: 1, begun: 1 };

export function planSecrets(view: SecretsView): SecretsPlan {
  const byName = new Map<string, NeededSecret[]>();
  for (const secret of view.needed) byName.set(secret.name, [...(byName.get(secret.name) ?? []), secret]);
  const groups: SecretGroup[] = [];
  const ahead: string[] = [];
  for (const name of [...byName.keys()].sort(byText)) {
    const compared = (byName.get(name) ?? []).map((secret) => compareSecret(view, secret));
    const known = view.versions.get(name) ?? never;
    const beyond = compared.filter(({ live }) => live !== null && live.version > known.begun);
    ahead.push(...beyond.map(({ secret }) => secretKey(secret)));
    if (beyond.length > 0) continue;
    const version = versionOf(compared, known);
    const writes = compared
      .filter(({ state, keys }) => state !== 'current' && keys.length > 0)
      .map(({ secret, keys, live }) => ({ namespace: secret.namespace, name, keys, version, live }));
    if (writes.length > 0 || version > known.version) groups.push({ name, version, known, writes });
  }
  return { groups, ahead: ahead.sort(byText), surplus: surplusOf(view) };
}

export type SecretState =
  | 'missing'
  | 'current'
  /** A value of ours differs from the database's. */
  | 'replaced'
  /** A key is not there, or somebody else changed it. */
  | 'incomplete';

interface Compared {
  readonly secret: NeededSecret;
  readonly live: LiveSecret | null;
  readonly state: SecretState;
  /** Those that the database has a value for. */
  readonly keys: readonly string[];
}

export function compareSecret({ marks, live }: Pick<SecretsView, 'marks' | 'live'>, secret: NeededSecret): Compared {
  const wanted = marks.get(secret.name) ?? new Map<string, Mark>();
  const keys = secret.keys.filter((key) => wanted.has(key));
  const found = live.get(secretKey(secret)) ?? null;
  return { secret, live: found, keys, state: stateOf(keys, wanted, found) };
}

function stateOf(keys: readonly string[], wanted: ReadonlyMap<string, Mark>, live: LiveSecret | null): SecretState {
  if (live === null) return 'missing';
  if (keys.some((key) => live.owned.has(key) && live.owned.get(key) !== wanted.get(key))) return 'replaced';
  return keys.every((key) => live.owned.has(key)) ? 'current' : 'incomplete';
}

/** Above what manifests show where a value was replaced, and at least what the cluster was given already. */
function versionOf(compared: readonly Compared[], { version }: SecretVersion): number {
  return Math.max(
    version,
    ...compared.flatMap(({ state, live }) => (live === null || state === 'incomplete' ? [] : [state === 'replaced' ? Math.max(version, live.version) + 1 : live.version])),
  );
}

function surplusOf({ needed, live }: SecretsView): readonly SecretSurplus[] {
  const keysOf = new Map(needed.map((secret) => [secretKey(secret), new Set(secret.keys)]));
  return [...live.values()]
    .filter(isOurSecret)
    .flatMap((secret): SecretSurplus[] => {
      const used = keysOf.get(secretKey(secret));
      if (used === undefined) return [{ live: secret, keys: null }];
      const keys = [...secret.owned.keys()].filter((key) => !used.has(key)).sort(byText);
      return keys.length === 0 ? [] : [{ live: secret, keys }];
    })
    .sort((a, b) => byText(secretKey(a.live), secretKey(b.live)));
}
