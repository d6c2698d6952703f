import type { Pool } from 'pg';
import type { Command } from 'commander';
import { systemClock, type Clock } from '../platform/clock.ts';
import { startEmbeddedPostgres } from '../platform/embedded-postgres.ts';
import { createLog, type Log } from '../platform/log.ts';
import { migrate, requireMigrated } from '../platform/migrate.ts';
import { createPool, type CuttablePool } from '../platform/pg.ts';
import { systemRandom, type Random } from '../platform/random.ts';
import type { KubeSource } from '../platform/kube/access.ts';
import type { Settings } from '../platform/settings-schema.ts';
import { loadSettings } from '../platform/settings.ts';
import { kubeSource } from './cluster.ts';
import type { CliContext } from './context.ts';
import { settingFlags, type SettingFlags } from './options.ts';

/** What commands that work on a database share: the settings, and the database itself. */
export interface Runtime {
  readonly settings: Settings;
  readonly pool: Pool;
  readonly databaseUrl: string;
  /** Null: heartbeats alone decide. */
  readonly kubernetes: KubeSource | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Says to who waits for a command what is worth knowing beside its output, once. */
  readonly tell: (text: string) => void;
  /** PATH of the processes that we start. */
  readonly path: string;
}

/** The runtime of a program that opened its own pool. */
export interface OpenRuntime extends Runtime {
  readonly pool: CuttablePool;
}

/** `migrate`: bring the schema up to date first. `require`: it must be. `none`: whatever it is. */
type Schema = 'migrate' | 'require' | 'none';

/** Reads the settings of a command: environment over flags over file over defaults. */
export async function settingsOf(context: CliContext, command: Command): Promise<Settings> {
  return loadSettings({ env: context.env, flags: settingFlags(command) });
}

/**
 * Opens the database (an embedded one where none is named). What is only worth knowing of a service is not logged by a
 * command that a person waits for.
 */
export async function openRuntime(given: { readonly env: CliContext['env']; readonly flags: SettingFlags }, name: string, schema: Schema): Promise<OpenRuntime & { close(): Promise<void> }> {
  const settings = await loadSettings(given);
  const log = createLog({ level: schema !== 'migrate' && settings.logLevel === 'info' ? 'warn' : settings.logLevel });
  const embedded = settings.database.url === null ? await startEmbeddedPostgres({ dataDir: settings.dataDir, log }) : null;
  const databaseUrl = embedded?.url ?? settings.database.url ?? '';
  const pool = createPool(databaseUrl, { max: settings.database.poolSize, statementTimeoutMs: settings.database.statementTimeout, applicationName: name });
  const close = async (): Promise<void> => {
    await pool.end();
    await embedded?.stop();
  };
  try {
    // Our own embedded database is nobody else's: it follows the program.
    if (schema === 'migrate' || (schema === 'require' && embedded !== null)) await migrate(pool);
    else if (schema === 'require') await requireMigrated(pool);
    return { settings, pool, databaseUrl, kubernetes: kubeSource(settings, given.env), clock: systemClock, random: systemRandom, log, tell: () => undefined, path: given.env['PATH'] ?? '', close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The runtime of a command, closed at its end, whatever happens. */
export async function withRuntime<T>(context: CliContext, command: Command, schema: Schema, use: (runtime: OpenRuntime) => Promise<T>): Promise<T> {
  const runtime = await openRuntime({ env: context.env, flags: settingFlags(command) }, `dory ${command.name()}`, schema);
  try {
    return await use({ ...runtime, tell: once(context.terminal.err) });
  } finally {
    await runtime.close();
  }
}

function once(tell: (text: string) => void): (text: string) => void {
  const told = new Set<string>();
  return (text) => {
    if (told.has(text)) return;
    told.add(text);
    tell(text);
  };
}
