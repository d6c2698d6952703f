import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import type { Pool } from 'pg';
import { parse } from 'yaml';
import { z } from 'zod';
import { fleetFileRows, insertStatements } from '../observe/fleet-file-rows.ts';
import { systemClock } from '../platform/clock.ts';
import { removeEmbeddedPostgres } from '../platform/embedded-postgres.ts';
import { silentLog } from '../platform/log.ts';
import { packageRoot } from '../platform/package-root.ts';
import { createPool, inTransaction } from '../platform/pg.ts';
import { systemRandom } from '../platform/random.ts';
import type { CliContext } from './context.ts';
import { startDemoCluster } from './demo/cluster.ts';
import { startDemoKubernetes, type DemoKubernetes } from './demo/kubernetes.ts';
import { tellStory, type Stage } from './demo/chapters.ts';
import { createNarrator, Reports, type Narrator } from './demo/story.ts';
import { localRepository } from './git-settings.ts';
import { serve } from './run.ts';
import { openRuntime, type OpenRuntime } from './runtime.ts';

/** Short enough to watch; in proportion as the defaults are. */
const pace = {
  'poll-interval': '1s',
  'http-host': '127.0.0.1',
  'http-port': '0',
  'failover-heartbeat-stale': '4s',
  'failover-stability-window': '4s',
  'failover-heartbeat-gap': '2s',
  'failover-intake-fresh': '3s',
  'failover-fence-margin': '1s',
  'failover-lease': '2s',
  'heartbeats-interval': '500ms',
  'git-coalesce': '0s',
  cluster: 'demo',
} as const;
const beatEvery = 500;

/** Kubelets that fall silent are missed after 10 s. */
const clusterPace = { apply: 'ssa', 'failover-not-ready-grace': '2s' } as const;

interface Flags {
  readonly cluster?: true;
  readonly keep?: true;
  readonly json?: true;
  readonly logLevel: string;
}

export function demoCommand(program: Command, context: CliContext): void {
  program
    .command('demo')
    .description('watch the whole story in a minute: a fleet, its first commit, a node that dies, the failover, the way home')
    .option('--cluster', 'on a real control plane, with --apply=ssa: its programs must be here')
    .option('--keep', 'leave everything running at the end, until Ctrl-C')
    .option('--json', 'one JSON object a line, for machines')
    .addOption(new Option('--log-level <level>', 'what the server logs, to standard error').default('silent'))
    .addHelpText('after', `
Everything it needs it starts itself, on 127.0.0.1, and removes at the end: a PostgreSQL server, a bare Git repository,
the HTTP server, and a process for each node that sends heartbeats. With DORY_DATABASE_URL it makes a database of its own
on that server instead, and drops it.

With --cluster it starts etcd, an API server, controllers, a scheduler and kwok as well (from KUBEBUILDER_ASSETS, the PATH, or
what \`npm run test:cluster\` built), applies the commits by itself, and moves pods from node to node.

Examples:
  dory demo
  dory demo --cluster
  dory demo --keep
  DORY_DATABASE_URL=postgresql://postgres@127.0.0.1/postgres dory demo`)
    .action(async (flags: Flags) => {
      const narrator = createNarrator(context.terminal, systemClock, flags.json === true);
      try {
        await inTemporaryFolder((dataDir) => withDatabase(context, narrator, (env) => withKubernetes(context, narrator, { dataDir, flags }, (kubernetes) =>
          play({ ...context, env }, narrator, { dataDir, flags, kubernetes }))));
      } catch (error) {
        // Ctrl-C ends whatever the story waited for; by now everything that was started has stopped.
        if (!context.signal.aborted) throw error;
      }
      if (context.signal.aborted) narrator.say('Stopped; nothing is left behind.');
    });
}

async function inTemporaryFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'dory-demo-'));
  try {
    await use(folder);
  } finally {
    await removeEmbeddedPostgres(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

/** On a server that was named, a database of our own for this run: nobody's fleet is touched. */
async function withDatabase({ env }: CliContext, narrator: Narrator, use: (env: CliContext['env']) => Promise<void>): Promise<void> {
  const server = env['DORY_DATABASE_URL'];
  const kept = { PATH: env['PATH'] };
  if (server === undefined || server === '') return use(kept);
  const name = `dory_demo_${systemRandom.hex(6)}`;
  const admin = createPool(server, { max: 1, statementTimeoutMs: 30_000, applicationName: 'dory demo' });
  try {
    await admin.query(`create database ${name}`);
    narrator.say(`Made the database ${name} on the server that DORY_DATABASE_URL names; it is dropped at the end.`);
    const url = new URL(server);
    url.pathname = `/${name}`;
    await use({ ...kept, DORY_DATABASE_URL: url.href }).finally(() => admin.query(`drop database ${name} with (force)`));
  } finally {
    await admin.end();
  }
}

interface Props {
  readonly dataDir: string;
  readonly flags: Flags;
  /** Null: the agents follow the branch. */
  readonly kubernetes: DemoKubernetes | null;
}

async function withKubernetes(context: CliContext, narrator: Narrator, { dataDir, flags }: Pick<Props, 'dataDir' | 'flags'>, use: (kubernetes: DemoKubernetes | null) => Promise<void>): Promise<void> {
  if (flags.cluster !== true) return use(null);
  const folder = join(dataDir, 'control-plane');
  await mkdir(folder);
  const { nodes, processors } = exampleSchema.parse(parse(await readExample()));
  const kubernetes = await startDemoKubernetes({
    env: context.env, folder, clock: systemClock, random: systemRandom, log: silentLog,
    nodes: nodes.map(({ name }) => name),
    namespaces: [...new Set(processors.map(({ namespace }) => namespace))].sort(),
  });
  try {
    narrator.say('Started a control plane: etcd, an API server, controllers, a scheduler, and kwok for the kubelets.');
    await use(kubernetes);
  } finally {
    await kubernetes.stop();
  }
}

const exampleSchema = z.object({ nodes: z.array(z.object({ name: z.string() })), processors: z.array(z.object({ namespace: z.string().default('default') })) });

function readExample(): Promise<string> {
  return readFile(join(packageRoot(), 'config', 'fleet.example.yaml'), 'utf8');
}

async function play(context: CliContext, narrator: Narrator, props: Props): Promise<void> {
  const { dataDir, flags, kubernetes } = props;
  narrator.chapter('Setting the stage');
  const applies = kubernetes === null ? {} : { ...clusterPace, kubeconfig: kubernetes.kubeconfig };
  const runtime = await openRuntime({ env: context.env, flags: { ...pace, ...applies, 'data-dir': dataDir, 'log-level': flags.logLevel } }, 'dory demo', 'migrate');
  try {
    const { rows } = await runtime.pool.query<{ version: string }>("select current_setting('server_version') as version");
    narrator.say(`PostgreSQL ${rows[0]?.version.split(' ')[0] ?? ''} is up${context.env['DORY_DATABASE_URL'] === undefined ? ', embedded' : ''}, and migrated.`);
    await loadExample(runtime.pool, narrator);
    await perform(context, narrator, runtime, props);
  } finally {
    await runtime.close();
  }
}

async function loadExample(pool: Pool, narrator: Narrator): Promise<void> {
  const example = await readExample();
  // Pods stop within a second here, and a dead node is left when their leases and their stops are over. Heartbeats begin with the agents.
  const rows = fleetFileRows(example.replaceAll(/(?<=SHUTDOWN_TIMEOUT_SEC: )"\d+"/g, '"1"'), null);
  await inTransaction(pool, {}, async (client) => {
    for (const { text, values } of insertStatements(rows)) await client.query(text, [...values]);
  });
  const { rows: counts } = await pool.query<{ nodes: string; processors: string; templates: string; sensors: string }>(
    `select (select count(*) from edge_nodes) as nodes, (select count(*) from processors) as processors,
            (select count(*) from processor_templates) as templates, (select count(*) from sensors) as sensors`,
  );
  const [fleet] = counts;
  if (fleet === undefined) return;
  narrator.say(`Loaded config/fleet.example.yaml: ${fleet.nodes} edge nodes, ${fleet.processors} processors of ${fleet.templates} templates, ${fleet.sensors} sensors with credentials.`);
  narrator.fact('fleet', { ...fleet });
}

/** The server, the stand-in for a cluster, and the story; all of it ends with this call. */
async function perform(context: CliContext, narrator: Narrator, runtime: OpenRuntime, { flags, kubernetes }: Props): Promise<void> {
  const { pool, settings, clock, log, path } = runtime;
  const done = new AbortController();
  const signal = AbortSignal.any([context.signal, done.signal]);
  const reports = new Reports();
  const repository = await localRepository(settings.dataDir, settings.git.branch, path);
  narrator.say('Made a bare Git repository.');
  const first = reports.next('the first commit', clock, signal, ({ publication }) => publication?.kind === 'pushed');
  const { url: server, ended: serving } = await serve(runtime, signal, (report) => { reports.take(report); });
  try {
    narrator.say(`dory run is up on ${server}, and reconciles every second.`);
    const nodes = (await pool.query<{ name: string }>('select name from edge_nodes order by name')).rows.map(({ name }) => name);
    const cluster = startDemoCluster({ repository, branch: settings.git.branch, cluster: settings.cluster, nodes, server, intervalMs: beatEvery, clock, log, ...(kubernetes === null ? {} : { kubernetes }) });
    try {
      const follow = kubernetes === null ? 'they follow the branch as Argo CD would' : 'for each pod that the API server shows as running there';
      narrator.say(`Started ${String(nodes.length + 1)} agents, one process a node: ${follow}, and send heartbeats every ${String(beatEvery)} ms.`);
      const stage: Stage = { narrator, reports, cluster, pool, clock, signal, repository, branch: settings.git.branch, path };
      await Promise.race([tellStory(stage, await first), serving]);
      if (flags.keep && !context.signal.aborted) await keepRunning(context, narrator, { repository, server, kubeconfig: kubernetes?.adminKubeconfig ?? null });
    } finally {
      await cluster.stop();
    }
  } finally {
    done.abort();
    await serving.catch(() => undefined);
  }
  await serving;
}

async function keepRunning({ signal }: CliContext, narrator: Narrator, { repository, server, kubeconfig }: { readonly repository: string; readonly server: string; readonly kubeconfig: string | null }): Promise<void> {
  narrator.chapter('Still running, until Ctrl-C');
  narrator.say(`git clone ${repository} fleet   # then read fleet/clusters/demo/processors/placements.tsv`);
  narrator.say(`npx dory status --server ${server}   # also nodes, processors, events, explain yard-edge-2`);
  narrator.say(`curl ${server}/metrics | grep ^dory_`);
  if (kubeconfig !== null) narrator.say(`kubectl --kubeconfig ${kubeconfig} get statefulsets,pods -A   # edit or delete one, and see it put back`);
  narrator.fact('kept', { repository, server, kubeconfig });
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => { resolve(); }, { once: true });
  });
}
