import type { Pool } from 'pg';
import { Concealed, type Credentials } from '../model/credentials.ts';
import { envVarMaker, type MakeEnvVar } from './parse-env.ts';
import { sensorParser } from './parse-sensor.ts';
import { remakeEnv } from './parse-template.ts';

/** Rows that are held at once: their credentials are gone from memory when the next ones are read. */
const rowsAtOnce = 2_000;

/**
 * The credentials of these Secrets (null: of all), as the manifests refer to them: judged by the very code that keeps them out of
 * manifests. A Secret whose rows have none, or are gone, is left out.
 * @throws Failure as `platform/pg.ts` maps errors of the database
 */
export async function* readCredentials(pool: Pool, names: readonly string[] | null): AsyncGenerator<readonly [string, Credentials], void> {
  const recorder = createRecorder();
  const parseSensor = sensorParser(recorder.make);
  for await (const { id, type, config } of sensorRows(pool, idsOf(names, 'sensor'))) {
    parseSensor({ hash: '', id, type, connectionConfig: config });
    yield* recorder.take();
  }
  for (const { id, config } of await templateRows(pool, idsOf(names, 'env'))) {
    remakeEnv(id, config, recorder.make);
    yield* recorder.take();
  }
}

const activeTemplates = `select processor_template_id as id, min(runtime_config_template::text) as config from processor_template_versions
      where is_active and processor_template_id is not null and ($1::uuid[] is null or processor_template_id = any($1))
      group by processor_template_id having count(*) = 1`;

/**
 * By Secret, a digest of the row that its credentials come from, which changes with it and never leaves the process: reading all
 * rows takes the database a fraction of the time that it takes to judge them. Also of rows that hold none.
 * @throws Failure as `platform/pg.ts` maps errors of the database
 */
export async function readCredentialRows(pool: Pool): Promise<ReadonlyMap<string, string>> {
  const { rows } = await pool.query<{ name: string; digest: string }>({
    text: `select 'dory-sensor-' || id as name, hash_record_extended(row(sensor_type::text, connection_config::text), 0)::text as digest from sensors
           union all select 'dory-env-' || id, hash_record_extended(row(config), 0)::text from (${activeTemplates}) as t`,
    values: [null],
  });
  return new Map(rows.map(({ name, digest }) => [name, digest]));
}

/** Makes variables as they are made for manifests, and keeps what stays out of them. */
function createRecorder(): { readonly make: MakeEnvVar; take(): Iterable<readonly [string, Credentials]> } {
  const usual = envVarMaker();
  let found = new Map<string, Map<string, Concealed>>();
  return {
    make: (name, value, secret, certain) => {
      const made = usual(name, value, secret, certain);
      if (!('secret' in made)) return made;
      const own = found.get(made.secret.name) ?? new Map<string, Concealed>();
      found.set(made.secret.name, own.set(made.secret.key, new Concealed(value)));
      return made;
    },
    take: () => {
      const taken = found;
      found = new Map();
      return taken;
    },
  };
}

function idsOf(names: readonly string[] | null, kind: 'sensor' | 'env'): readonly string[] | null {
  const prefix = `dory-${kind}-`;
  return names?.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)) ?? null;
}

interface Row {
  readonly id: string;
  readonly type: string | null;
  /** JSON. */
  readonly config: string | null;
}

async function* sensorRows(pool: Pool, ids: readonly string[] | null): AsyncGenerator<Row, void> {
  let last: string | null = null;
  do {
    const { rows }: { rows: Row[] } = await pool.query<Row>(
      `select id, sensor_type::text as type, connection_config::text as config from sensors
        where ($1::uuid[] is null or id = any($1)) and ($2::uuid is null or id > $2) order by id limit $3`,
      [ids, last, rowsAtOnce],
    );
    yield* rows;
    last = rows.length < rowsAtOnce ? null : (rows.at(-1)?.id ?? null);
  } while (last !== null);
}

/** Only of templates with one active version: the others are in quarantine, and which one counts is not known. */
async function templateRows(pool: Pool, ids: readonly string[] | null): Promise<readonly Omit<Row, 'type'>[]> {
  const { rows } = await pool.query<Omit<Row, 'type'>>(`${activeTemplates} order by 1`, [ids]);
  return rows;
}
