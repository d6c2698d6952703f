import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { openRepository, type Repository } from '../../src/commit/repository.ts';
import { defaultTimeouts, usualPath } from '../../src/commit/settings.ts';
import type { Epoch, RevisionId } from '../../src/model/ids.ts';
import type { ManifestInput } from '../../src/model/placement.ts';
import { instant } from '../../src/model/time.ts';
import type { FileChange } from '../../src/model/tree.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { summarize } from '../../src/render/change.ts';
import { emptyRenderState, render, type RenderState } from '../../src/render/render.ts';
import { atLeast, atMost, count, median, plain, type BenchRow, type BenchSize } from './measure.ts';
import { benchFleet } from './render.ts';

const run = promisify(execFile);

/** 100 of 50,000 files, committed and pushed to a repository on this disk; beside it, `git add`, `commit` and `push` in a work tree with the same files. */
export async function benchCommit(size: BenchSize): Promise<readonly BenchRow[]> {
  const folder = await mkdtemp(join(tmpdir(), 'dory-bench-'));
  try {
    return await measure(folder, { fleet: size.fleet, moves: size.fleet / 500, rounds: size.rounds * 2 - 1 });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Size {
  readonly fleet: number;
  /** Of one commit. */
  readonly moves: number;
  readonly rounds: number;
}

async function measure(folder: string, size: Size): Promise<readonly BenchRow[]> {
  const { rounds } = size;
  // All files beforehand: what only this benchmark holds in memory would make each start of a process slower.
  const [first = [], second = [], ...changes] = fileSets(size, rounds + 2);
  const ours = await ourWay(folder);
  const naive = naiveWay(folder);
  const firstCommit = await ours.commit(1, first.splice(0));
  await naive.checkOut(ours.remote);
  globalThis.gc?.();
  await ours.commit(2, second);
  await naive.commit(2, second);
  const [remoteBefore, cloneBefore] = [await bytesIn(ours.remote), await bytesIn(ours.clone)];
  const oursTook: Took[] = [];
  const naiveTook: Took[] = [];
  for (const [round, files] of changes.entries()) {
    // In turns: both see the same machine.
    oursTook.push(await ours.commit(round + 3, files));
    naiveTook.push(await naive.commit(round + 3, files));
  }
  const remoteGrowth = (await bytesIn(ours.remote) - remoteBefore) / rounds / 1000;
  const cloneGrowth = (await bytesIn(ours.clone) - cloneBefore) / rounds / 1000;
  const packed = await packedGrowth(ours.remote, rounds);
  await ours.repository.close();
  return rows(size, { oursTook, naiveTook, firstCommit, remoteGrowth, cloneGrowth, packed });
}

interface Took {
  /** Until the commit is there, before it is pushed. */
  readonly commit: number;
  readonly total: number;
}

interface Measured {
  readonly oursTook: readonly Took[];
  readonly naiveTook: readonly Took[];
  readonly firstCommit: Took;
  readonly remoteGrowth: number;
  readonly cloneGrowth: number;
  readonly packed: number;
}

function rows({ fleet, moves }: Size, { oursTook, naiveTook, firstCommit, remoteGrowth, cloneGrowth, packed }: Measured): readonly BenchRow[] {
  const [commit, total] = [median(oursTook.map((took) => took.commit)), median(oursTook.map((took) => took.total))];
  const [naiveCommit, naiveTotal] = [median(naiveTook.map((took) => took.commit)), median(naiveTook.map((took) => took.total))];
  return [
    atMost(`commit ${count(moves)} of ${count(fleet)} files`, commit, 'ms', 50),
    plain('  by add and commit in a work tree', naiveCommit, 'ms'),
    atLeast('  that many times faster', naiveCommit / commit, '×', 10),
    plain('commit and push them to a repository on this disk', total, 'ms'),
    plain('  by add, commit and push in a work tree', naiveTotal, 'ms'),
    plain('  that many times faster', naiveTotal / total, '×'),
    atMost('growth of the remote a commit, overviews included', remoteGrowth, 'KB', 300),
    plain('  after its git gc', packed, 'KB'),
    plain('  of the clone', cloneGrowth, 'KB'),
    plain(`first commit of ${count(fleet)} files, with the push`, firstCommit.total, 'ms'),
  ];
}

/** First all files, then again and again those that change when other processors move. */
function fileSets({ fleet, moves }: Size, sets: number): FileChange[][] {
  const inputs = benchFleet(fleet);
  let state: RenderState = emptyRenderState({
    cluster: 'bench', owner: 'bench', layout: '64x16', imagePullSecret: 'ecr-registry-secret', orchestratorUrl: 'http://dory.example', supportFiles: () => new Map(), argocdFiles: null,
  });
  return Array.from({ length: sets }, (_, round) => {
    const revision = (round + 1) as RevisionId;
    const changed = round === 0 ? inputs : inputs.slice(round * moves, (round + 1) * moves).map((input) => moved(input, revision));
    const head = { revision, trigger: 'heartbeat-stale', decidedAt: instant(1.7e12) };
    const changes = changed.map(({ spec, placement }) => ({ processorId: spec.id, kind: 'move' as const, reason: placement.reason, before: { target: { kind: 'managed' as const } }, after: placement }));
    const rendered = render(state, { revision, changed, removed: [], change: summarize(head, changes) });
    state = rendered.state;
    return [...rendered.files];
  });
}

function moved(input: ManifestInput, revision: RevisionId): ManifestInput {
  return { ...input, placement: { ...input.placement, epoch: 2 as Epoch, target: { kind: 'managed' }, reason: 'heartbeat-stale', revision } };
}

interface OurWay {
  readonly repository: Repository;
  readonly remote: string;
  readonly clone: string;
  readonly commit: (revision: number, files: readonly FileChange[]) => Promise<Took>;
}

interface NaiveWay {
  /** Begins where another repository is. */
  readonly checkOut: (from: string) => Promise<void>;
  readonly commit: (revision: number, files: readonly FileChange[]) => Promise<Took>;
}

async function ourWay(folder: string): Promise<OurWay> {
  const remote = join(folder, 'ours.git');
  const dataDir = join(folder, 'data');
  await git(folder, 'init', '--quiet', '--bare', remote);
  const person = { name: 'dory', email: 'dory@localhost' };
  const repository = openRepository(
    { url: remote, branch: 'main', author: person, committer: person, dataDir, cluster: 'bench', owner: 'bench', auth: { kind: 'none' }, caFile: null, signingKeyFile: null, path: null, timeouts: defaultTimeouts },
    { clock: systemClock, random: systemRandom, log: silentLog },
  );
  await repository.head();
  return {
    repository,
    remote,
    clone: dataDir,
    commit: async (revision, files) => {
      const start = performance.now();
      let commit = 0;
      const leaderCheck = (): Promise<void> => {
        commit = performance.now() - start;
        return Promise.resolve();
      };
      const message = `failover: some processors\n\nDory-Cluster: bench\nDory-Revision: ${String(revision)}\n`;
      const published = await repository.publish({ files, message, revision: revision as RevisionId, decidedAt: instant(1.7e12 + revision * 1000), leaderCheck });
      if (published.kind !== 'pushed') throw new Error(`expected a push, got ${published.kind}`);
      return { commit, total: performance.now() - start };
    },
  };
}

function naiveWay(folder: string): NaiveWay {
  const [remote, tree] = [join(folder, 'naive.git'), join(folder, 'naive')];
  return {
    checkOut: async (from) => {
      await git(folder, 'clone', '--quiet', '--bare', '--no-local', from, remote);
      await git(folder, 'clone', '--quiet', '--no-local', '--branch', 'main', remote, tree);
    },
    commit: async (_revision, files) => {
      const start = performance.now();
      for (const { path, content } of files) {
        const file = join(tree, path);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, content ?? '');
      }
      await git(tree, 'add', '--all');
      await git(tree, 'commit', '--quiet', '--message', 'failover');
      const commit = performance.now() - start;
      await git(tree, 'push', '--quiet', 'origin', 'HEAD:main');
      return { commit, total: performance.now() - start };
    },
  };
}

/** What the commits of the rounds are worth when the remote has tidied up: hosts do it by themselves. */
async function packedGrowth(remote: string, rounds: number): Promise<number> {
  const copy = `${remote}.before`;
  await git(dirname(remote), 'clone', '--quiet', '--bare', '--no-local', remote, copy);
  await git(copy, 'update-ref', 'refs/heads/main', `main~${String(rounds)}`);
  const sizes: number[] = [];
  for (const directory of [remote, copy]) {
    await git(directory, 'reflog', 'expire', '--expire=now', '--all');
    await git(directory, 'gc', '--quiet', '--prune=now');
    sizes.push(await bytesIn(directory));
  }
  return ((sizes[0] ?? 0) - (sizes[1] ?? 0)) / rounds / 1000;
}

async function git(directory: string, ...args: readonly string[]): Promise<void> {
  const env = {
    PATH: usualPath, HOME: '/nonexistent', LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1',
    GIT_AUTHOR_NAME: 'naive', GIT_AUTHOR_EMAIL: 'naive@localhost', GIT_COMMITTER_NAME: 'naive', GIT_COMMITTER_EMAIL: 'naive@localhost',
  };
  await run('git', ['-c', 'init.defaultBranch=main', '-c', 'gc.auto=0', ...args], { cwd: directory, env });
}

async function bytesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = await Promise.all(entries.filter((entry) => entry.isFile()).map(async (entry) => (await stat(join(entry.parentPath, entry.name))).size));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}
