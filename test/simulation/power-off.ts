import { asLeader } from './as-leader.ts';
import type { CycleHost } from './cycle-runner.ts';
import type { Rows } from './rows.ts';
import type { World } from './world.ts';

const againMs = 10_000;

/** A person who finds a node without power says so, once Dory takes that word: `dory node power-off-confirmed`. */
export function sayPowerOff(world: World, node: string, afterMs: number): void {
  const { kernel, machines, database, cluster } = world;
  if (machines.get(node)?.powered !== false) return;
  kernel.after(afterMs, () => {
    const { rows, clock } = database;
    const verdict = rows.verdicts.get(node)?.verdict ?? 'unknown';
    const taken = database.up && cluster.up && cluster.nodes.get(node)?.ready === 'unknown' && (verdict === 'lost' || rows.decommissioned.has(node));
    if (!taken) { kernel.after(againMs, () => { sayPowerOff(world, node, afterMs); }); return; }
    if (rows.powerOffs.has(node)) return;
    rows.powerOffs.set(node, clock);
    world.checks.counts.poweredOff += 1;
    world.checks.tell(`ada says that ${node} has no power`);
    world.wakeAll();
  });
}

/** As `src/apply/power-off.ts`: the taint comes with the word, and both go when the node shows life and nothing old can start there. */
export class PowerOffs {
  readonly #host: CycleHost;

  constructor(host: CycleHost) {
    this.#host = host;
  }

  tend(): void {
    asLeader(this.#host, (rows) => [...rows.powerOffs].map(([node, at]) => ({ node, at, beats: (rows.heartbeats.get(node) ?? 0) > at })), (said) => {
      for (const { node, at, beats } of said) this.#look(node, at, beats);
    });
  }

  #look(node: string, at: number, beats: boolean): void {
    const { cluster } = this.#host.world;
    this.#api(() => cluster.nodes.get(node)?.ready ?? 'unknown', (ready) => {
      if (ready === 'unknown' && !beats) this.#api(() => { cluster.setOutOfService(node, true); }, () => undefined);
      else this.#end(node, at);
    });
  }

  /** Under the row's lock, so that no decision rests on the word that this does not see; all of it in one step. */
  #end(node: string, at: number): void {
    const { id, view, world: { cluster, network, script, mutation, checks } } = this.#host;
    asLeader(this.#host, (rows) => {
      const mayStart = movedSince(rows, node, at).some(([processor, epoch]) => view?.startsOld(processor, epoch, script.policy) !== false);
      if ((mayStart && mutation !== 'power-off-ends-at-once') || rows.powerOffs.get(node) !== at || !cluster.up || !network.up(`${id}-api`)) return;
      cluster.setOutOfService(node, false);
      rows.powerOffs.delete(node);
      checks.tell(`${id}: ${node} shows life, and is in service again`);
    }, () => undefined);
  }

  #api<T>(run: () => T, done: (value: T) => void): void {
    const { id, world: { network, cluster } } = this.#host;
    network.send(`${id}-api`, () => {
      if (!cluster.up) return;
      const value = run();
      network.send(`${id}-api`, () => { this.#host.later(0, () => { done(value); }); });
    });
  }
}

/** What left this node since the word was given, with the epoch that it has now. */
function movedSince(rows: Rows, node: string, since: number): readonly (readonly [string, number])[] {
  const left = rows.revisions.filter(({ decidedAt }) => decidedAt >= since).flatMap(({ changes }) => changes)
    .filter(({ before, after }) => before?.target.kind === 'edge' && before.target.nodeId === node && (after === null || after.epoch > before.epoch));
  return left.map(({ processorId, before }) => [processorId, rows.placements.get(processorId)?.epoch ?? (before?.epoch ?? 0) + 1]);
}
