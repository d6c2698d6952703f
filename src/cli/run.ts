import type { Command } from 'commander';
import { createServer, type RunningServer } from './server.ts';
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
import { seeToAftermath } from './aftermath.ts';
import { openApplying, type Applying } from './applying.ts';
import { openArgocd, type Argocd } from './argocd.ts';
import { createCandidate, resignInTime, type Candidate } from './candidate.ts';
import { openCluster } from './cluster.ts';
import type { CliContext } from './context.ts';
import { keepHouse } from './housekeeping.ts';
import { newCycleName, openEngine, type Engine } from './engine.ts';
import { assertLeading } from './lease.ts';
import { measureStages, observeCycle, observeFailure } from './observe-cycle.ts';
import { operatorApi } from './operator-api.ts';
import { settingsOptions } from './options.ts';
import { printable } from './output.ts';
import { openRollouts, type Rollouts } from './rollouts.ts';
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
  const over = new AbortController();
  const resigning = resignInTime(parts.candidate, { clock, log, ending: either, over: over.signal });
  try {
    await Promise.all(running);
  } finally {
    // Whichever ended with a bug takes the other one along.
    bug.abort();
    await Promise.allSettled(running);
    over.abort();
    await resigning;
    const stopping = clock.monotonic();
    log.info('shutting down');
    await parts.stop();
    metrics.shutdownDuration.observe({ component: 'all' }, seconds(clock.monotonic() - stopping));
    log.info('stopped');
  }
}

interface Parts {
  readonly url: string;
  readonly candidate: Candidate;
  readonly loop: Loop;
  /** Looks now and then whether somebody else wrote into our folder. */
  readonly remoteChecks: (signal: AbortSignal) => Promise<void>;
  readonly housekeeping: (signal: AbortSignal) => Promise<void>;
  readonly stop: () => Promise<void>;
}

async function start(runtime: OpenRuntime, metrics: Metrics, onReport: (report: CycleReport) => void): Promise<Parts> {
  const { clock, random, log, settings } = runtime;
  const candidate = createCandidate(runtime, metrics, () => { loop.wake(); applying?.wake(); });
  const { leadership, database } = candidate;
  const stages = measureStages(clock, metrics);
  let cycleName = newCycleName(runtime);
  let cluster: Cluster | null = null;
  const rollouts = openRollouts(runtime, metrics, leadership, () => cluster);
  cluster = await clusterOf(runtime, metrics, { change: () => { loop.wake(); }, member: (id) => { rollouts?.touch(id); } });
  const argocd = await openArgocd(runtime, metrics);
  const engine = await openEngine(runtime, {
    cluster,
    onPushed: (push) => { argocd?.pushed(push); applying?.pushed(cycleName); },
    onSecrets: () => { loop.wake(); },
    metrics,
    lease: () => leadership.current(),
    assertLeading: () => stillLeading(runtime, leadership),
    onStep: stages.onStep,
    cycleName: () => cycleName,
  });
  const applying = openApplying(runtime, metrics, { repository: engine.repository, leadership, assertLeading: () => stillLeading(runtime, leadership) });
  const report = (told: CycleReport): void => {
    rollouts?.reported(told);
    onReport(told);
  };
  const loop = createLoop({
    cycle: async () => {
      stages.begin();
      cycleName = newCycleName(runtime);
      database.cycleBegins();
      try {
        const due = await oneCycle({ ...runtime, log: log.child({ cycle: cycleName }) }, engine.stages, metrics, report);
        database.cycleEnded(null);
        await argocd?.record();
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
  await startWatching(cluster, argocd);
  leadership.start();
  return {
    url: server.url,
    candidate, loop,
    remoteChecks: (signal) => checkRemote(runtime, { engine, leadership, loop, metrics }, signal),
    housekeeping: (signal) => besideCycles(runtime, { cluster, leadership, metrics, rollouts, applying }, signal),
    stop: () => stopAll({ candidate, listener, server, engine, argocd, applying, cluster }),
  };
}

interface Started {
  readonly candidate: Candidate;
  readonly listener: ReturnType<typeof listen>;
  readonly server: RunningServer;
  readonly engine: Engine;
  readonly argocd: Argocd | null;
  readonly applying: Applying | null;
  readonly cluster: Cluster | null;
}

async function stopAll({ candidate, listener, server, engine, argocd, applying, cluster }: Started): Promise<void> {
  // First, for somebody else waits for it.
  await candidate.stop();
  await listener.close();
  await server.close();
  await applying?.close();
  await engine.close();
  await argocd?.close();
  await cluster?.close();
}

async function startWatching(cluster: Cluster | null, argocd: Argocd | null): Promise<void> {
  argocd?.start();
  cluster?.start();
  // Without its news the first cycle would call well nodes unknown, and they would be no refuge for a whole window.
  await cluster?.synced(firstNews);
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

async function clusterOf(runtime: Runtime, metrics: Metrics, on: { readonly change: () => void; readonly member: (processorId: string) => void }): Promise<Cluster | null> {
  const { kubernetes, log } = runtime;
  if (kubernetes === null) {
    log.info('no cluster is configured: heartbeats alone decide');
    return null;
  }
  const health = (healthy: boolean): void => { metrics.componentHealthy.set({ component: 'kubernetes' }, healthy ? 1 : 0); };
  health(false);
  return openCluster(runtime, { ...on, health });
}

/** What a leader does that no cycle waits for. */
async function besideCycles(runtime: Runtime, { cluster, leadership, metrics, rollouts, applying }: { readonly cluster: Cluster | null; readonly leadership: Leadership; readonly metrics: Metrics; readonly rollouts: Rollouts | null; readonly applying: Applying | null }, signal: AbortSignal): Promise<void> {
  const aftermath = cluster === null ? null : seeToAftermath(runtime, { cluster, leadership, metrics, assertLeading: () => stillLeading(runtime, leadership) }, signal);
  await Promise.all([keepHouse(runtime, leadership, metrics, signal), aftermath, rollouts?.run(signal), applying?.run(signal)]);
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
