import type { Command } from 'commander';
import { createServer } from './server.ts';
import { cycle, nextWake, type CycleReport, type Stages } from '../cycle.ts';
import { createLoop, type Loop } from '../loop.ts';
import { Failure } from '../model/failure.ts';
import { elapsed, millis, type Millis } from '../model/time.ts';
import type { Cluster } from '../observe/cluster.ts';
import type { Leadership } from '../platform/campaign.ts';
import { leaderChannel } from '../platform/leadership.ts';
import { listen } from '../platform/listen.ts';
import { createMetrics, type Metrics } from '../platform/metrics.ts';
import { nearest } from '../platform/nearest.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import { createCandidate } from './candidate.ts';
import { openCluster } from './cluster.ts';
import type { CliContext } from './context.ts';
import { keepHouse } from './housekeeping.ts';
import { newCycleName, openEngine, type Engine } from './engine.ts';
import { assertLeading } from './lease.ts';
import { measureStages, observeCycle, observeFailure } from './observe-cycle.ts';
import { operatorApi } from './operator-api.ts';
import { settingsOptions } from './options.ts';
import { printable } from './output.ts';
import { withRuntime, type OpenRuntime, type Runtime } from './runtime.ts';
import { countKinds } from './tell.ts';

export function runCommand(program: Command, context: CliContext): void {
  const command = program
    .command('run', { isDefault: true })
    .description('keep the fleet running: the loop, and the HTTP server for heartbeats, nodes, health and metrics (the default)')
    .addHelpText('after', '\nAlso the command where none is given, as the running system is started.\n\nExamples:\n  dory run\n  dory --config-db postgresql://dory@db.example.com/dory --poll-interval 10s --log-level info');
  // What is no command's name is an argument of the default command.
  command.argument('[words...]').usage('[options]');
  settingsOptions(command).action(async ([word]: readonly string[]) => {
    if (word !== undefined) refuseWord(program, word);
    await withRuntime(context, command, 'migrate', async (runtime) => {
      const { ended } = await serve(runtime, context.signal, () => undefined);
      await ended;
    });
  });
}

/** @throws CommanderError */
function refuseWord(program: Command, word: string): never {
  const names = program.commands.map((command) => command.name());
  if (names.includes(word)) return program.error(`error: the command comes first: dory ${word} …`);
  const meant = nearest(word, names);
  return program.error(`error: unknown command '${printable(word)}'${meant === null ? '' : `\n(Did you mean ${meant}?)`}`);
}

export interface Serving {
  /** Where the HTTP server listens. */
  readonly url: string;
  /** Resolves when everything has stopped; rejects on a bug. */
  readonly ended: Promise<void>;
}

/** Starts everything that runs, until `signal` is aborted. `onReport` is told of each cycle. */
export async function serve(runtime: OpenRuntime, signal: AbortSignal, onReport: (report: CycleReport) => void): Promise<Serving> {
  const { clock } = runtime;
  const started = clock.monotonic();
  const metrics = createMetrics({ runtime: true });
  const parts = await start(runtime, metrics, onReport);
  metrics.startupDuration.observe(seconds(clock.monotonic() - started));
  return { url: parts.url, ended: keepServing(runtime, metrics, parts, signal) };
}

async function keepServing({ log, clock }: Runtime, metrics: Metrics, parts: Parts, signal: AbortSignal): Promise<void> {
  const bug = new AbortController();
  const either = AbortSignal.any([signal, bug.signal]);
  const running = [parts.loop.run(either), parts.remoteChecks(either), parts.housekeeping(either)];
  try {
    await Promise.all(running);
  } finally {
    // Whichever ended with a bug takes the other one along.
    bug.abort();
    await Promise.allSettled(running);
    const stopping = clock.monotonic();
    log.info('shutting down');
    await parts.stop();
    metrics.shutdownDuration.observe({ component: 'all' }, seconds(clock.monotonic() - stopping));
    log.info('stopped');
  }
}

interface Parts {
  readonly url: string;
  readonly loop: Loop;
  /** Looks now and then whether somebody else wrote into our folder. */
  readonly remoteChecks: (signal: AbortSignal) => Promise<void>;
  readonly housekeeping: (signal: AbortSignal) => Promise<void>;
  readonly stop: () => Promise<void>;
}

async function start(runtime: OpenRuntime, metrics: Metrics, onReport: (report: CycleReport) => void): Promise<Parts> {
  const { clock, random, log, settings } = runtime;
  const candidate = createCandidate(runtime, metrics, () => { loop.wake(); });
  const { leadership, database } = candidate;
  const stages = measureStages(clock, metrics);
  let cycleName = newCycleName(runtime);
  const cluster = await clusterOf(runtime, metrics, () => { loop.wake(); });
  const engine = await openEngine(runtime, {
    cluster,
    lease: () => leadership.current(),
    assertLeading: () => stillLeading(runtime, leadership),
    onStep: stages.onStep,
    cycleName: () => cycleName,
  });
  const loop = createLoop({
    cycle: async () => {
      stages.begin();
      cycleName = newCycleName(runtime);
      database.cycleBegins();
      try {
        const due = await oneCycle({ ...runtime, log: log.child({ cycle: cycleName }) }, engine.stages, metrics, onReport);
        database.cycleEnded(null);
        return due;
      } catch (error) {
        // A database that goes away in the middle of a cycle is no bug.
        throw databaseFailure(error);
      }
    },
    mayCycle: () => leadership.current() !== null && database.reachable(),
    pollInterval: settings.pollInterval,
    clock, random,
    onFailure: (failure) => {
      database.cycleEnded(failure);
      tellFailure(runtime, metrics, failure);
    },
  });
  const server = await createServer(runtime, metrics, (authenticator) => operatorApi(runtime, engine, authenticator));
  const listener = listenForWork(runtime, metrics, leadership, loop);
  warnOfIdleSettings(runtime);
  cluster?.start();
  // Without its news the first cycle would call well nodes unknown, and they would be no refuge for a whole window.
  await cluster?.synced(firstNews);
  leadership.start();
  const stop = async (): Promise<void> => {
    // First, for somebody else waits for it.
    await candidate.stop();
    await listener.close();
    await server.close();
    await engine.close();
    await cluster?.close();
  };
  return {
    url: server.url,
    loop,
    remoteChecks: (signal) => checkRemote(runtime, { engine, leadership, loop, metrics }, signal),
    housekeeping: (signal) => keepHouse(runtime, leadership, metrics, signal),
    stop,
  };
}

/** What others wrote calls for a cycle. */
function listenForWork({ clock, random, log, databaseUrl }: OpenRuntime, metrics: Metrics, leadership: Leadership, loop: Loop): ReturnType<typeof listen> {
  return listen({
    url: databaseUrl, channel: leaderChannel.name, clock, random, log,
    onNotify: (payload) => {
      metrics.configWatcherHealthy.set(1);
      // Null: anything may have been missed.
      if (payload === null || payload === leaderChannel.payload) leadership.look();
      loop.wake();
    },
    onBreak: () => {
      metrics.configWatcherHealthy.set(0);
      metrics.configWatcherErrors.inc();
    },
  });
}

/** What the running system's command line may hold, and this version takes without doing anything about it. */
function warnOfIdleSettings({ settings, log }: Runtime): void {
  if (settings.enableMonitor) log.warn('enableMonitor is set: this version does not move processors away from tainted nodes yet');
}

async function clusterOf(runtime: Runtime, metrics: Metrics, change: () => void): Promise<Cluster | null> {
  const { kubernetes, log } = runtime;
  if (kubernetes === null) {
    log.info('no cluster is configured: heartbeats alone decide');
    return null;
  }
  const health = (healthy: boolean): void => { metrics.componentHealthy.set({ component: 'kubernetes' }, healthy ? 1 : 0); };
  health(false);
  return openCluster(runtime, { change, health });
}

async function stillLeading({ pool }: Runtime, leadership: Leadership): Promise<void> {
  const lease = leadership.current();
  if (lease === null) throw new Failure('not-leader', 'The lease ran out.');
  await assertLeading(pool, lease);
}

async function oneCycle({ clock, log }: Runtime, stages: Stages, metrics: Metrics, onReport: (report: CycleReport) => void): Promise<Millis | null> {
  const before = clock.monotonic();
  const report = await cycle(stages);
  observeCycle(metrics, clock.now(), report);
  tellReport(log, report);
  onReport(report);
  const wake = nextWake(report);
  // The snapshot was taken at the start; the database's clock has moved on since.
  return wake === null ? null : millis(elapsed(report.snapshot.at, wake) - (clock.monotonic() - before));
}

function tellReport(log: Runtime['log'], { planned, decision, publication }: CycleReport): void {
  for (const { nodeId, verdict, reason, evidence } of planned.transitions) log.info({ node: nodeId, verdict, reason, evidence }, 'verdict changed');
  if (planned.changes.length > 0) log.info({ revision: decision.revision, changes: planned.changes.length }, `decided: ${countKinds(planned)}`);
  if (publication?.kind === 'pushed') log.info({ revision: publication.revision, commit: publication.commit, files: publication.files }, 'pushed');
  for (const { subject, reason } of planned.refusals) log.warn({ subject, reason }, 'refused; dory approve lets it happen');
}

function tellFailure({ log }: Runtime, metrics: Metrics, failure: Failure): void {
  observeFailure(metrics, failure);
  const level = failure.retry === 'now' ? 'info' : 'error';
  log[level]({ err: failure, code: failure.code, retry: failure.retry, mend: failure.mend }, 'the cycle ended early');
}

interface Checked {
  readonly engine: Engine;
  readonly leadership: Leadership;
  readonly loop: Loop;
  readonly metrics: Metrics;
}

async function checkRemote(runtime: Runtime, { engine, leadership, loop, metrics }: Checked, signal: AbortSignal): Promise<void> {
  const { clock, settings, log } = runtime;
  // A sleep that is cut short is the end.
  while (await clock.sleep(settings.git.headCheckInterval, signal).then(() => true, () => false)) {
    if (leadership.current() === null) continue;
    const edit = await engine.publisher.checkRemote().catch((error: unknown) => {
      if (error instanceof Failure && error.code === 'database-behind') tellFailure(runtime, metrics, error);
      else log.warn({ err: error }, 'the remote could not be asked for its head');
      return null;
    });
    if (edit === null) continue;
    log.warn({ commit: edit.commit, paths: edit.paths.slice(0, 10), count: edit.paths.length }, 'somebody else changed our folder');
    loop.wake();
  }
}

/** A cluster that answers has listed everything by then; one that does not answer keeps nobody waiting. */
const firstNews = millis(3_000);

const seconds = (ms: number): number => ms / 1000;
