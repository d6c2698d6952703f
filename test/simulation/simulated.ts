import type { Plan } from '../../src/model/plan.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import type { Checks } from './checks.ts';
import type { Cluster } from './cluster.ts';
import type { Database } from './database.ts';
import type { Remote } from './git.ts';
import type { Kernel } from './kernel.ts';
import type { Mutation } from './mutations.ts';
import type { Network } from './network.ts';
import type { Script } from './script.ts';

/** The parts of a simulated world that its processes see of each other. */
export interface Simulated {
  readonly script: Script;
  readonly kernel: Kernel;
  readonly network: Network;
  readonly database: Database;
  readonly remote: Remote;
  readonly cluster: Cluster;
  readonly checks: Checks;
  /** A bug that was put in, to see it found; null: none. */
  readonly mutation: Mutation | null;
  plan(snapshot: Snapshot): Plan;
  /** For how long an instance can't ask the remote; 0 if it can. */
  gitAwayFor(instance: string): number;
  /** Starts an instance that died. */
  restart(instance: string): void;
}
