import { fateOf } from '../../src/apply/stuck-pods.ts';
import { mostAtOnce } from '../../src/apply/adopt.ts';
import { millis } from '../../src/model/time.ts';
import { asLeader } from './as-leader.ts';
import type { PodObject } from './cluster.ts';
import type { CycleHost } from './cycle-runner.ts';
import type { Mutation } from './mutations.ts';
import { PowerOffs } from './power-off.ts';
import type { Rows } from './rows.ts';

const lookEveryMs = 5_000;
/** For the answers of one look; what has no answer by then is asked anew. */
const patienceMs = 4_000;

interface Departed {
  readonly uid: number;
  readonly processor: string;
  /** Of the current placement. */
  readonly epoch: number;
  readonly beats: boolean;
  readonly committed: boolean;
  readonly fence: string | null;
  readonly removed: boolean;
}

/** What a leader sees to beside its cycles, as `src/cli/aftermath.ts`: what moves left behind, and what the system before this one left. */
export class Aftermath {
  readonly #host: CycleHost;
  readonly #powerOffs: PowerOffs;

  constructor(host: CycleHost) {
    this.#host = host;
    this.#powerOffs = new PowerOffs(host);
  }

  start(): void {
    this.#host.later(lookEveryMs, () => {
      this.start();
      if (this.#host.lease() === null) return;
      this.#sweep();
      this.#adopt();
      this.#powerOffs.tend();
    });
  }

  /** As this process; without an answer, `done` is never called. */
  #api<T>(run: () => T, done: (value: T) => void): void {
    const { id, world: { network, cluster, kernel } } = this.#host;
    const link = `${id}-api`;
    const until = kernel.now + patienceMs;
    network.send(link, () => {
      if (!cluster.up) return;
      const value = run();
      network.send(link, () => { this.#host.later(0, () => { if (kernel.now <= until) done(value); }); });
    });
  }

  #sweep(): void {
    const { world, view } = this.#host;
    const orphans = view?.orphans(world.script.policy) ?? [];
    if (orphans.length === 0) return;
    asLeader(this.#host, (rows) => orphans.flatMap((orphan) => departureOf(rows, orphan, world.mutation)), (left) => {
      for (const each of left) this.#sweepOne(each);
    });
  }

  #sweepOne(departed: Departed): void {
    const { world } = this.#host;
    const { cluster, script, mutation, kernel } = world;
    const { uid, processor, epoch, beats } = departed;
    this.#api(() => ({ pod: cluster.pods.get(uid) ?? null, ready: this.#readyOf(uid), successor: [...cluster.pods.values()].some((pod) => pod.processor === processor && pod.epoch === epoch && cluster.kubelets.works(pod)) }), ({ pod, ready, successor }) => {
      if (pod === null) return;
      const grace = (script.processors.find(({ name }) => name === processor)?.shutdownTimeoutSec ?? 0) * 1_000;
      const overdue = pod.deletedAt === undefined ? null : millis(kernel.now - pod.deletedAt - grace);
      const found = fateOf({ node: pod.pending === true ? null : pod.node, overdue }, departed, { kubelet: ready === 'unknown' ? 'silent' : 'answers', bound: script.policy.fenceBound });
      const isFree = found.kind === 'delete' || (found.kind === 'wait' && found.why === 'successor' && (beats || successor));
      if (found.kind !== 'force' && !isFree && mutation !== 'leftovers-forced') return;
      this.#api(() => cluster.delete(uid, found.kind === 'force' || mutation === 'leftovers-forced'), (was) => { if (was) world.checks.counts.swept += 1; });
    });
  }

  #readyOf(uid: number): string {
    const { cluster } = this.#host.world;
    const node = cluster.pods.get(uid)?.node ?? '';
    return node === 'managed' ? (cluster.kubelets.connected(node) ? 'true' : 'unknown') : (cluster.nodes.get(node)?.ready ?? 'unknown');
  }

  /** `dory.adoptions` is written before a pod is deleted, and ended when ours works: few are between the two at once. */
  #adopt(): void {
    const { cluster } = this.#host.world;
    asLeader(this.#host, (rows) => ({ open: [...rows.adoptions], asked: askedOf(rows) }), ({ open, asked }) => {
      if (asked.size === 0) return;
      this.#api(() => [...cluster.pods.values()].map((pod) => ({ ...pod, ready: this.#readyOf(pod.uid), works: cluster.kubelets.works(pod) })), (pods) => {
        for (const [uid, adoption] of open) this.#goOn(uid, adoption, pods);
        const begun = new Set(open.map(([uid]) => uid));
        const next = pods.filter(({ uid, epoch, processor, ready }) => epoch === 0 && ready !== 'unknown' && asked.has(processor) && !begun.has(uid));
        for (const { uid, processor } of next.slice(0, Math.max(0, mostAtOnce - open.length))) {
          asLeader(this.#host, (rows) => { rows.adoptions.set(uid, { processor, gone: false }); }, () => this.#delete(uid));
        }
      });
    });
  }

  #delete(uid: number): void {
    const { world } = this.#host;
    this.#api(() => world.cluster.delete(uid, world.mutation === 'taken-before-gone'), (was) => { if (was) world.checks.counts.adopted += 1; });
  }

  #goOn(uid: number, { processor, gone }: { readonly processor: string; readonly gone: boolean }, pods: readonly (PodObject & { readonly ready: string; readonly works: boolean })[]): void {
    const pod = gone ? undefined : pods.find((each) => each.uid === uid);
    asLeader(this.#host, (rows) => {
      const wanted = askedOf(rows).has(processor);
      if (pod !== undefined) {
        if (!wanted && !pod.terminating) rows.adoptions.delete(uid);
        return wanted && !pod.terminating && pod.ready !== 'unknown';
      }
      const works = pods.some((each) => each.processor === processor && each.epoch > 0 && each.epoch === rows.placements.get(processor)?.epoch && each.works);
      if (works || !wanted) rows.adoptions.delete(uid);
      else rows.adoptions.set(uid, { processor, gone: true });
      return false;
    }, (again) => { if (again) this.#delete(uid); });
  }
}

function askedOf({ desired, handovers }: Rows): ReadonlySet<string> {
  return new Set([...desired.keys()].filter((name) => (handovers.get(name) ?? handovers.get('fleet')) === 'ours'));
}

/** As the statement of `src/apply/sweep.ts` finds it. */
function departureOf(rows: Rows, { uid, processor, epoch }: PodObject, mutation: Mutation | null): readonly Departed[] {
  const placement = rows.placements.get(processor);
  if (placement === undefined) return removedOf(rows, { uid, processor, epoch });
  if (!(placement.phase === 'active' && placement.epoch > epoch) && mutation !== 'leftovers-forced') return [];
  const beat = rows.beats.get(processor);
  return [{
    uid, processor, epoch: placement.epoch,
    beats: beat?.epoch === placement.epoch && beat.lastBeatAt >= placement.since && beat.leaseUntil !== null,
    ...wayOut(rows, processor, epoch), removed: false,
  }];
}

/** The move that left this epoch. */
function wayOut(rows: Rows, processor: string, epoch: number): Pick<Departed, 'committed' | 'fence'> {
  const revision = rows.revisions.find(({ changes }) => changes.some(({ processorId, after }) => processorId === processor && (after?.epoch ?? 0) > epoch));
  const evidence = revision?.changes.find(({ processorId }) => processorId === processor)?.evidence ?? {};
  return { committed: typeof revision?.committedAt === 'number', fence: typeof evidence['fence'] === 'string' ? evidence['fence'] : evidence['unfenced'] === true ? 'unfenced' : null };
}

function removedOf(rows: Rows, { uid, processor, epoch }: Pick<PodObject, 'uid' | 'processor' | 'epoch'>): readonly Departed[] {
  const last = rows.retired.get(processor);
  if (last === undefined || last.epoch < epoch || rows.desired.has(processor)) return [];
  const removal = rows.revisions.findLast(({ changes }) => changes.some(({ processorId, kind }) => processorId === processor && kind === 'remove'));
  return [{ uid, processor, epoch: last.epoch, beats: false, ...wayOut(rows, processor, epoch), committed: typeof removal?.committedAt === 'number', removed: true }];
}
