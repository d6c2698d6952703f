import { plan as realPlan } from '../../src/plan/plan.ts';
import type { Plan } from '../../src/model/plan.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import { Checks } from './checks.ts';
import { Cluster } from './cluster.ts';
import { Database } from './database.ts';
import { Remote, type Commit } from './git.ts';
import { Instance } from './instance.ts';
import { unstored, type Beat, type BeatAnswer } from './intake.ts';
import { Kernel } from './kernel.ts';
import { Machine, type MachineContext } from './machine.ts';
import type { Mutation } from './mutations.ts';
import { Network } from './network.ts';
import { firstRows } from './rows.ts';
import type { Script } from './script.ts';
import type { Simulated } from './simulated.ts';
import { Truth } from './truth.ts';

/** The world of one script, put together; nothing has happened in it yet. */
export class World implements Simulated {
  readonly script: Script;
  readonly mutation: Mutation | null;
  readonly kernel: Kernel;
  readonly network: Network;
  readonly database: Database;
  readonly remote: Remote;
  readonly cluster: Cluster;
  readonly truth: Truth;
  readonly checks: Checks;
  readonly instances = new Map<string, Instance>();
  /** By name; `managed` stands for all of the pool. */
  readonly machines = new Map<string, Machine>();
  readonly imagesMissing = new Set<string>();
  /** How many faults of each kind last now. */
  readonly ongoing = new Map<string, number>();

  /** Which instance each client's connection goes to. */
  readonly #connections = new Map<string, Instance>();

  constructor(script: Script, mutation: Mutation | null = null) {
    this.script = script;
    this.mutation = mutation;
    this.kernel = new Kernel(script.seed);
    this.network = new Network(this.kernel);
    this.truth = new Truth(script.policy.heartbeatStale + 20_000);
    this.checks = new Checks(this.kernel, script, this.truth);
    this.database = new Database(this.kernel, this.network, firstRows(script));
    this.remote = new Remote(this.kernel, this.network, (before, commit) => this.checks.afterPush(before, commit));
    this.cluster = new Cluster(this.kernel, this.network, this.remote, script);
    for (let i = 1; i <= script.instances; i += 1) this.instances.set(`i${String(i)}`, new Instance(`i${String(i)}`, this));
    const context = this.#machineContext();
    for (const { name } of script.nodes) this.machines.set(name, new Machine(name, context));
    this.machines.set('managed', new Machine('managed', { ...context, beacon: null }));
    this.cluster.kubelets = {
      connected: (node) => this.machines.get(node)?.connected ?? false,
      podsChanged: (node) => { this.machines.get(node)?.sync(); },
      works: ({ node, uid, terminating }) => !terminating && this.machines.get(node)?.connected === true && this.machines.get(node)?.processes.get(uid)?.writing === true,
    };
  }

  start(): void {
    this.cluster.start();
    for (const name of this.script.cutover?.bare ?? []) this.cluster.startBare(name, this.script.processors.find((processor) => processor.name === name)?.home ?? 'managed');
    for (const instance of this.instances.values()) instance.start();
  }

  restart(instance: string): void {
    this.instances.get(instance)?.start();
  }

  gitAwayFor(instance: string): number {
    return Math.max(this.truth.ailedFor('git', this.kernel.now), this.truth.ailedFor(`${instance}-git`, this.kernel.now));
  }

  plan(snapshot: Snapshot): Plan {
    const planned = realPlan(snapshot);
    if (this.mutation !== 'epoch-not-raised') return planned;
    const changes = planned.changes.map((change) => change.kind === 'move' && change.after !== null && change.before !== null
      ? { ...change, after: { ...change.after, epoch: change.before.epoch } } : change);
    return { ...planned, changes };
  }

  wakeAll(): void {
    for (const instance of this.instances.values()) instance.wake();
  }

  get head(): Commit | null {
    return this.remote.head;
  }

  #machineContext(): MachineContext {
    const agents = new Map(this.script.processors.map(({ name, agent, shutdownTimeoutSec }) => [name, { kind: agent, graceMs: shutdownTimeoutSec * 1_000 }]));
    return {
      kernel: this.kernel,
      network: this.network,
      cluster: this.cluster,
      agentOf: (processor) => agents.get(processor)!,
      process: {
        send: (beat, answer) => this.#heartbeat(beat, beat.node, answer),
        writes: (process, writing) => this.checks.writes(process, writing),
      },
      imageMissing: (processor) => this.imagesMissing.has(processor),
      beacon: this.script.beacons ? (node) => this.#heartbeat(null, node, () => undefined) : null,
    };
  }

  /** Through the load balancer, which knows who is ready, to one of the instances. */
  #heartbeat(beat: Beat | null, node: string, answer: (answer: BeatAnswer) => void): void {
    const client = `${node}/${beat?.processor ?? ''}`;
    const instance = this.#route(client);
    const link = `${node}-dory`;
    this.network.send(link, () => instance.receive(beat, node, (stored) => {
      // As the server does: its next beat should find an instance that can store it.
      if (stored === unstored && this.mutation !== 'connection-kept') this.#connections.delete(client);
      this.network.send(link, () => answer(stored), true);
    }), true);
  }

  #route(client: string): Instance {
    const kept = this.#connections.get(client);
    if (this.script.sticky && kept?.answers === true) return kept;
    const ready = [...this.instances.values()].filter((instance) => instance.ready);
    const instance = this.kernel.random.pick(ready.length > 0 ? ready : [...this.instances.values()]);
    this.#connections.set(client, instance);
    return instance;
  }
}
