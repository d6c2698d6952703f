import type { Pool } from 'pg';
import type { CycleReport } from '../../cycle.ts';
import { sentence } from '../../model/reasons.ts';
import type { Verdict } from '../../model/snapshot.ts';
import type { Clock } from '../../platform/clock.ts';
import { createGit } from '../../platform/git.ts';
import { millis, seconds } from '../../model/time.ts';
import { countKinds } from '../tell.ts';
import { managedNode, type DemoCluster } from './cluster.ts';
import { stuck, type Narrator, type Reports } from './story.ts';

/** What the story is told on. */
export interface Stage {
  readonly narrator: Narrator;
  readonly reports: Reports;
  readonly cluster: DemoCluster;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The bare repository, on this machine. */
  readonly repository: string;
  readonly branch: string;
  readonly path: string;
}

/** What git says of the repository. */
type AskGit = (...args: readonly string[]) => Promise<string>;

/** Its processors fall back to the managed pool, and one of them can't move: both are worth seeing. */
const victim = 'yard-edge-2';

export async function tellStory(stage: Stage, first: CycleReport): Promise<void> {
  const repository = createGit({ directory: stage.repository, path: stage.path, timeout: seconds(10) });
  const git: AskGit = async (...args) => (await repository.run(args)).toString();
  await firstCommit(stage, git, first);
  await failback(stage, git, await failover(stage, git));
  await epilogue(stage, git);
}

async function firstCommit(stage: Stage, git: AskGit, first: CycleReport): Promise<void> {
  const { narrator, reports, clock, signal } = stage;
  narrator.chapter('1  The fleet as it should be: the first commit');
  tellCommit(stage, 'first', first);
  narrator.quote(await git('show', '--no-patch', '--format=%h %s', head(stage)));
  narrator.quote((await git('ls-tree', '-r', '--name-only', head(stage))).split('\n').slice(0, 8).join('\n'));
  narrator.quote('…');
  const healthy = (report: CycleReport): boolean => report.planned.verdicts.every(({ verdict }) => verdict === 'healthy');
  const report = await reports.next('heartbeats from all nodes', clock, signal, healthy);
  await allRun(stage);
  narrator.say(`All ${String(report.planned.verdicts.length)} nodes beat, and all ${String(report.snapshot.placements.length)} processors run.`);
}

/** Answers how many processors moved. */
async function failover(stage: Stage, git: AskGit): Promise<number> {
  const { narrator, reports, cluster, clock, signal } = stage;
  narrator.chapter(`2  A node dies: ${victim}`);
  const lost = reports.next('the verdict', clock, signal, hasVerdict('lost'));
  const stopped = reports.next('a stop', clock, signal, pushedKind('stop'));
  const moved = reports.next('the failover commit', clock, signal, pushedKind('move'));
  await cluster.kill(victim);
  narrator.say(`Killed the agent of ${victim} (SIGKILL): no heartbeat comes from there any more.`);
  // A cluster may call the node Ready for a while yet.
  const first = await Promise.race([stopped, lost]);
  if (pushedKind('stop')(first)) {
    tellCommit(stage, 'silent', first);
    narrator.say('Kubernetes still calls it Ready, so that its pods may be alive: they are told to stop, and nothing starts elsewhere before it is proved that they did.');
  }
  const verdict = (await lost).planned.transitions.find((t) => t.verdict === 'lost');
  if (verdict !== undefined) narrator.say(`Verdict: ${sentence(verdict.reason, verdict.evidence)}.`);
  const report = await moved;
  tellCommit(stage, 'failover', report);
  await showCommit(narrator, git, head(stage));
  tellHolds(narrator, report);
  await allRun(stage);
  narrator.say('What moved runs in the cloud now.');
  return movesOf(report);
}

async function failback(stage: Stage, git: AskGit, away: number): Promise<void> {
  const { narrator, reports, cluster, clock, signal } = stage;
  narrator.chapter(`3  ${victim} comes back`);
  const returning = reports.next('its first heartbeat', clock, signal, hasVerdict('returning'));
  const stopped = reports.next('the stop', clock, signal, pushedKind('stop'));
  // Each goes home as soon as its old pod has said that it stopped, so there may be more than one commit.
  let home = 0;
  const allHome = reports.next('the way home', clock, signal, (report) => {
    if (pushedKind('move')(report)) home += movesOf(report);
    return home >= away;
  });
  await cluster.revive(victim);
  narrator.say(`Started its agent again. It still runs what it ran when it died, and is told to shut those pods down.`);
  await returning;
  narrator.say('Verdict: returning. Nothing moves until it has been steady for the stability window.');
  tellCommit(stage, 'stop', await stopped);
  narrator.quote(await git('show', '--no-patch', '--format=%h %s', head(stage)));
  narrator.say('The pods in the cloud are told to stop. Nothing starts at home before each has said that it did: that is the fence.');
  tellCommit(stage, 'failback', await allHome);
  await showCommit(narrator, git, head(stage));
  await allRun(stage);
  narrator.say('And runs at home again, at a higher epoch.');
}

async function epilogue(stage: Stage, git: AskGit): Promise<void> {
  const { narrator } = stage;
  narrator.chapter('The whole story, as the repository tells it');
  narrator.quote(await git('log', '--oneline', '--stat', '--stat-count=4', '--stat-width=96', stage.branch));
  const commits = (await git('rev-list', '--reverse', stage.branch)).trim().split('\n');
  narrator.fact('log', { commits });
  narrator.chapter('What to try next');
  narrator.say('npm run demo -- --keep              leave it running, and look around');
  narrator.say('npx dory plan --fleet config/fleet.example.yaml    what a fleet file would become');
  narrator.say('npx dory --help                     your own database and repository: --config-db, --git-url');
}

/** The commit that the branch is at; the story waits for each, so nothing comes in between. */
function head({ branch }: Stage): string {
  return `refs/heads/${branch}`;
}

function hasVerdict(wanted: Verdict): (report: CycleReport) => boolean {
  return ({ planned }) => planned.transitions.some(({ verdict }) => verdict === wanted);
}

/** A cycle that decided a change of this kind, and pushed it. */
function pushedKind(kind: 'move' | 'stop'): (report: CycleReport) => boolean {
  return ({ planned, publication }) => publication?.kind === 'pushed' && planned.changes.some((change) => change.kind === kind);
}

function movesOf({ planned }: CycleReport): number {
  return planned.changes.filter(({ kind }) => kind === 'move').length;
}

function tellCommit({ narrator }: Stage, chapter: string, { planned, publication, snapshot }: CycleReport): void {
  if (publication?.kind !== 'pushed') return;
  narrator.say(`Commit ${publication.commit.slice(0, 10)}: ${countKinds(planned)}; ${String(publication.files)} files.`);
  const changes = planned.changes.map(({ kind, processorId, reason, before, after }) => ({ kind, processorId, reason, from: before?.target ?? null, to: after?.target ?? null, epoch: after?.epoch ?? null }));
  narrator.fact('commit', { chapter, commit: publication.commit, revision: publication.revision, files: publication.files, decidedAt: snapshot.at, changes });
}

/** Its message, and of its diff what belongs to the first processor. */
async function showCommit(narrator: Narrator, git: AskGit, commit: string): Promise<void> {
  narrator.quote(await git('show', '--no-patch', '--format=%B', commit));
  const names = (await git('show', '--name-only', '--format=', commit)).split('\n').filter((name) => name.endsWith('.yaml'));
  const [file] = names;
  if (file === undefined) return;
  narrator.say(`Its diff, of the first of ${String(names.length)} manifests:`);
  const patch = await git('show', '--format=', '--unified=1', commit, '--', file);
  narrator.quote(patch.split('\n').slice(2).join('\n'));
}

function tellHolds(narrator: Narrator, { planned }: CycleReport): void {
  for (const { processorId, reason, evidence, rejected } of planned.holds) {
    const against = rejected.at(-1);
    narrator.say(`Held: ${processorId.slice(0, 8)}: ${sentence(reason, evidence)}${against === undefined ? '' : ` (${sentence(against.reason, against.evidence)})`}.`);
  }
  narrator.fact('holds', { holds: planned.holds });
}

/** Waits until each placement's pod runs where it should, but for those that a dead node holds. @throws Failure `demo-stuck` */
async function allRun({ cluster, pool, clock, signal }: Stage): Promise<void> {
  const { rows } = await pool.query<{ processor_id: string; epoch: string; node: string | null }>(
    `select processor_id, epoch, target_node_name as node from dory.placements where phase = 'active'`,
  );
  const missing = (): boolean => {
    const nodes = cluster.state().nodes;
    const alive = new Set(nodes.filter(({ pid }) => pid !== null).map(({ name }) => name));
    const running = new Set(nodes.flatMap(({ name, pods }) => pods.map(({ processorId, epoch }) => `${name} ${processorId} ${String(epoch)}`)));
    return rows.some(({ processor_id: id, epoch, node }) => alive.has(node ?? managedNode) && !running.has(`${node ?? managedNode} ${id} ${epoch}`));
  };
  for (let tries = 0; missing(); tries++) {
    if (tries === podTries) throw stuck('the pods that were committed');
    await clock.sleep(podPause, signal);
  }
}

/** Agents start pods as soon as they are told; this is for machines that are busy. */
const podPause = millis(100);
const podTries = 300;
