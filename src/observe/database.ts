import type { Pool, PoolClient } from 'pg';
import type { Fleet } from '../model/fleet.ts';
import type { Policy, PolicyOverride, Snapshot } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import { inTransaction, msBefore } from '../platform/pg.ts';
import { withConditions, withPods, type ClusterPort } from './cluster.ts';
import { readControls } from './controls.ts';
import { foreignOf, readHandovers } from './foreign.ts';
import { readLastGood } from './last-good.ts';
import { assemble, parseTables, quarantinedIds, toFleet, type Assembly, type Parsed } from './parse-fleet.ts';
import { readAgents, readPlacements, readRetired, type PlacementsAt, type StateAt } from './placements.ts';
import { withPowerOffs } from './power-offs.ts';
import { readRenamed } from './renamed.ts';
import type { Tables } from './rows.ts';
import { readSecretVersions, rotationsSql, type SecretVersions } from './secret-versions.ts';
import { inDoubt, intakeOf, readNodeSignals, withNodeBeats, type IntakeFacts, type Receiver } from './signals.ts';
import { fingerprintSql, readCatalog, readTable, tableNames, type Catalog, type TableName } from './tables.ts';

export interface ObserveSettings {
  readonly policy: Policy;
  /** What the settings say of single templates and processors. */
  readonly policies: readonly PolicyOverride[];
  /** For processors whose `k8s_namespace` is NULL or empty. */
  readonly defaultNamespace: string;
  readonly receiver: Receiver;
  /** The column of `edge_nodes` that names the site; null: none. */
  readonly siteColumn: string | null;
}

export interface Observer {
  /**
   * Reads one consistent snapshot in one transaction. While no desired row changes, `fleet` is the same object each time,
   * and while no decision is written, `placements` is. Call it again only when the last call has settled.
   * @throws Failure `schema-missing`, `schema-incompatible`, or as `platform/pg.ts` maps errors of the database.
   */
  observe(): Promise<Snapshot>;
  /** Changes whenever rows do that credentials come from: a replaced password changes nothing else. Null before the first look. */
  credentialsMark(): string | null;
}

/** `cluster`: null where heartbeats alone decide. */
export function createObserver(pool: Pool, settings: ObserveSettings, cluster: ClusterPort | null = null): Observer {
  let memory: Memory | null = null;
  return {
    observe: async () => {
      const before = memory;
      // After a failure everything is read anew: a table may have been altered under us.
      memory = null;
      const clusterAt = cluster?.look() ?? null;
      const seen = await inTransaction(pool, { isolation: 'repeatable read', readOnly: true }, (client) => look(client, { settings, clusterAt }, before));
      memory = seen.memory;
      return seen.snapshot;
    },
    credentialsMark: () => (memory === null ? null : `${memory.fingerprints.versions}, ${memory.fingerprints.sensors}`),
  };
}

/** What is kept from one look to the next. */
interface Memory {
  readonly catalog: Catalog;
  readonly fingerprints: Fingerprints;
  readonly rotations: string;
  readonly secretVersions: SecretVersions;
  readonly parsed: Parsed;
  readonly assembly: Assembly;
  readonly fleet: Fleet;
  readonly placed: PlacementsAt;
  readonly retired: Snapshot['retired'];
  readonly renamed: Snapshot['renamed'];
}

type Fingerprints = Readonly<Record<TableName, string>>;

interface Sources {
  readonly settings: ObserveSettings;
  readonly clusterAt: ReturnType<ClusterPort['look']> | null;
}

async function look(client: PoolClient, { settings, clusterAt }: Sources, before: Memory | null): Promise<{ snapshot: Snapshot; memory: Memory }> {
  const catalog = before?.catalog ?? (await readCatalog(client, settings.siteColumn));
  const pulse = await readPulse(client, catalog);
  const memory = await refresh(client, { catalog, pulse, settings, before });
  const { fleet, placed: { placements }, retired, renamed } = memory;
  const { at, intake: recorded } = pulse;
  const cluster = clusterAt?.(at) ?? null;
  const nodes = withConditions(await readNodeSignals(client, fleet.nodes), fleet.nodes, cluster);
  const { policy } = settings;
  const intake = intakeOf({ at, receiver: settings.receiver, recorded, nodes }, policy);
  const read = await readAgents(client, placements, inDoubt(nodes, at, policy));
  const received = settings.receiver === 'dory' && recorded !== null;
  const heard = withPods(received ? read : withNodeBeats(read, placements, nodes), placements, cluster);
  const agents = await withPowerOffs(client, heard, placements, { cluster, at });
  const controls = await readControls(client, policy, settings.policies);
  const foreign = foreignOf({ fleet, placements, retired, handovers: await readHandovers(client), bare: cluster?.bare() ?? null });
  return { snapshot: Object.freeze({ at, fleet, placements, nodes, agents, retired, renamed, foreign, intake, policy, ...controls }), memory };
}

/** The small facts, and whether the large ones changed, in one question. */
interface Pulse {
  readonly at: Instant;
  readonly state: StateAt;
  /** Rises whenever credentials were replaced. */
  readonly rotations: string;
  readonly intake: IntakeFacts['recorded'];
  readonly fingerprints: Fingerprints;
}

async function readPulse(client: PoolClient, catalog: Catalog): Promise<Pulse> {
  const fingerprints = tableNames.map((name) => `${fingerprintSql(catalog[name])} as ${name}`);
  const { rows } = await client.query<Fingerprints & { at: string; version: string; revision: string; rotations: string; since: string | null; until: string | null }>(
    `select ${msBefore('now()')} as at, s.version, s.revision, ${rotationsSql} as rotations, ${msBefore('i.covered_since')} as since, ${msBefore('i.covered_until')} as until,
            ${fingerprints.join(', ')}
       from dory.state s left join dory.intake i on true`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('observe: dory.state has no row');
  const { at, version, revision, rotations, since, until, ...rest } = row;
  const intake = since === null || until === null ? null : { since: instant(Number(since)), until: instant(Number(until)) };
  return { at: instant(Number(at)), state: { version: Number(version), revision: Number(revision) }, rotations, intake, fingerprints: rest };
}

interface Refresh {
  readonly catalog: Catalog;
  readonly pulse: Pulse;
  readonly settings: ObserveSettings;
  readonly before: Memory | null;
}

/** Reads and parses what changed since `before`. */
async function refresh(client: PoolClient, { catalog, pulse, settings, before }: Refresh): Promise<Memory> {
  const { fingerprints, state, rotations } = pulse;
  const changed = tableNames.filter((name) => before?.fingerprints[name] !== fingerprints[name]);
  const decided = before?.placed.state.version !== state.version;
  const rotated = before?.rotations !== rotations;
  if (before !== null && changed.length === 0 && !decided && !rotated) return before;
  const secretVersions = rotated ? await readSecretVersions(client) : before.secretVersions;
  const seen = await refreshFleet(client, { catalog, settings, changed, before, secretVersions });
  const placed = await readPlacements(client, state, before?.placed ?? null);
  const retired = decided || changed.includes('processors') ? await readRetired(client) : before.retired;
  const renamed = await readRenamed(client, seen.fleet, { placements: placed.placements, retired });
  return { ...seen, catalog, fingerprints, rotations, secretVersions, placed, retired, renamed };
}

type Changed = Omit<Refresh, 'pulse'> & { readonly changed: readonly TableName[]; readonly secretVersions: SecretVersions };

async function refreshFleet(client: PoolClient, { catalog, settings, changed, before, secretVersions }: Changed): Promise<Pick<Memory, 'parsed' | 'assembly' | 'fleet'>> {
  // A decision may have changed what quarantined processors were last rendered from; it changes nothing else here.
  if (before !== null && changed.length === 0 && before.secretVersions === secretVersions && before.fleet.quarantined.length === 0) return before;
  const parsed = parseTables(await readTables(client, catalog, changed), before?.parsed);
  const assembly = assemble(parsed, settings.defaultNamespace, before?.assembly ?? null, secretVersions);
  const fleet = toFleet(parsed, assembly, await readLastGood(client, quarantinedIds(assembly)));
  // Equal content is the same object: a rotated password changes no manifest.
  return { parsed, assembly, fleet: before?.fleet.digest === fleet.digest ? before.fleet : fleet };
}

/** Templates are parsed with their versions, so the two are read together. */
async function readTables(client: PoolClient, catalog: Catalog, changed: readonly TableName[]): Promise<Partial<Tables>> {
  const wanted = new Set(changed);
  if (wanted.has('templates') || wanted.has('versions')) wanted.add('templates').add('versions');
  const tables: Partial<Record<TableName, readonly unknown[]>> = {};
  for (const name of wanted) tables[name] = await readTable(client, name, catalog[name]);
  return tables as Partial<Tables>;
}
