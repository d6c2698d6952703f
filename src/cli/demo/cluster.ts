import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { millis, seconds } from '../../model/time.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Log } from '../../platform/log.ts';
import type { DemoKubernetes } from './kubernetes.ts';
import { headOf, manifestsAt, podsOf, type DesiredPod } from './manifests.ts';
import { podKey, type AgentOptions, type AgentOrder, type AgentReport, type Pod } from './protocol.ts';

/**
 * Stands for Argo CD, the kubelets and the agents: watches the branch, and has each node, a process of its own, run what the
 * manifests ask of it. No Kubernetes is needed to see what a commit does.
 */
export interface DemoCluster {
  /** Pulls the plug: SIGKILL, and nobody starts it again. */
  kill(node: string): Promise<void>;
  /** Back with the pods that it had, as a node that was cut off: it hears of its manifests with the next commit. */
  revive(node: string): Promise<void>;
  state(): ClusterState;
  /** Ends every agent; resolves when they are gone. */
  stop(): Promise<void>;
}

interface ClusterState {
  /** The commit that was last followed; null before the first. */
  readonly commit: string | null;
  /** In the order in which they were given; the managed pool is the last. */
  readonly nodes: readonly NodeState[];
}

interface NodeState {
  readonly name: string;
  /** Of its agent's process; null while it is dead. */
  readonly pid: number | null;
  /** As its agent reported; of a dead node, what it ran when it died. */
  readonly pods: readonly Pod[];
}

export interface DemoClusterOptions {
  /** A bare repository on this machine: a path, or a URL of `file`. */
  readonly repository: string;
  readonly branch: string;
  readonly cluster: string;
  /** Names of the edge nodes, all of which beat, also those without pods. */
  readonly nodes: readonly string[];
  /** `http://host:port`. */
  readonly server: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** What an agent's process runs: `agent-main`, as JavaScript. */
  readonly agentProgram?: string;
  readonly onReport?: (node: string, report: AgentReport) => void;
  /** A real cluster, which says what runs where; without one, what the branch asks for runs. */
  readonly kubernetes?: Pick<DemoKubernetes, 'follow' | 'setKubelet'>;
}

/** The one managed node's name, as a cloud would name it. */
export const managedNode = 'managed-1';
/** Fast enough to look like a webhook. */
const pollPause = millis(250);
const goodbye = seconds(2);
const compiledAgent = join(import.meta.dirname, 'agent-main.js');

export function startDemoCluster(options: DemoClusterOptions): DemoCluster {
  const onNodeReport = (node: string) => (report: AgentReport): void => {
    options.log.debug({ node, report }, 'agent');
    options.onReport?.(node, report);
  };
  const nodes = new Map(
    [...options.nodes, managedNode].map((name) => [name, new DemoNode(options, agentOptions(options, name), onNodeReport(name))]),
  );
  const find = (name: string): DemoNode => {
    const node = nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name} in the demo's cluster`);
    return node;
  };
  const stopped = new AbortController();
  let commit: string | null = null;
  for (const node of nodes.values()) node.start();
  let wanted: readonly DesiredPod[] = [];
  const tell = (): void => {
    for (const [name, node] of nodes) node.want(wanted.filter((pod) => (pod.node ?? managedNode) === name));
  };
  const { kubernetes } = options;
  const following = kubernetes === undefined
    ? follow(options, stopped.signal, (head, pods) => {
        commit = head;
        wanted = pods;
        tell();
      })
    : kubernetes.follow(stopped.signal, (pods) => {
        wanted = pods;
        tell();
      });
  return {
    kill: async (name) => {
      await Promise.all([find(name).kill(), kubernetes?.setKubelet(name, false)]);
    },
    revive: async (name) => {
      find(name).start();
      await kubernetes?.setKubelet(name, true);
    },
    state: () => ({ commit, nodes: [...nodes.values()].map((node) => node.state()) }),
    stop: async () => {
      stopped.abort();
      await Promise.all([following, ...[...nodes.values()].map((node) => node.end(options.clock))]);
    },
  };
}

function agentOptions({ server, intervalMs }: DemoClusterOptions, node: string): AgentOptions {
  return { node, kind: node === managedNode ? 'managed' : 'edge', server, intervalMs };
}

/** Calls `onCommit` for each new head of the branch, until `signal` is aborted. */
async function follow(
  { repository, branch, cluster, clock, log }: DemoClusterOptions,
  signal: AbortSignal,
  onCommit: (head: string, pods: readonly DesiredPod[]) => void,
): Promise<void> {
  const path = repository.startsWith('file:') ? fileURLToPath(repository) : repository;
  let seen: string | null = null;
  while (!signal.aborted) {
    try {
      const head = await headOf(path, branch);
      if (head !== null && head !== seen) {
        const pods = podsOf(await manifestsAt(path, head, cluster));
        if (!isAborted(signal)) onCommit(head, pods);
        seen = head;
      }
    } catch (error) {
      log.warn({ err: error }, 'the demo\'s cluster can\'t read the repository');
    }
    await clock.sleep(pollPause, signal).catch(() => undefined);
  }
}

/** The compiler takes a signal that was not aborted before an `await` for one that never is. */
const isAborted = (signal: AbortSignal): boolean => signal.aborted;

/** A node: its process, what it was told to run, and what it reports to run. */
class DemoNode {
  readonly #options: AgentOptions;
  readonly #log: Log;
  readonly #program: string;
  readonly #onReport: (report: AgentReport) => void;
  #process: ChildProcess | null = null;
  /** What the manifests asked of it when it last heard of them. */
  #told = new Map<string, Pod>();
  readonly #running = new Map<string, Pod>();

  constructor({ log, agentProgram = compiledAgent }: DemoClusterOptions, options: AgentOptions, onReport: (report: AgentReport) => void) {
    this.#options = options;
    this.#log = log;
    this.#program = agentProgram;
    this.#onReport = onReport;
  }

  start(): void {
    if (this.#process !== null) return;
    const child = fork(this.#program, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] });
    this.#process = child;
    child.on('message', (report: AgentReport) => { this.#hear(report); });
    child.on('error', (error) => { this.#log.error({ err: error, node: this.#options.node }, 'an agent failed'); });
    child.once('exit', (code, signal) => {
      this.#log.debug({ node: this.#options.node, code, signal }, 'an agent ended');
      if (this.#process === child) this.#process = null;
    });
    this.#order({ kind: 'begin', options: this.#options });
    // Pods survive their node's loss of contact, and nobody has told it yet that they moved.
    this.#told = new Map([...this.#told, ...this.#running]);
    this.#running.clear();
    this.#order({ kind: 'change', run: [...this.#told.values()], stop: [] });
  }

  /** What the manifests ask for now. A dead node does not hear of it. */
  want(pods: readonly DesiredPod[]): void {
    if (this.#process === null) return;
    const wanted = new Map(pods.map(({ processorId, epoch }) => [podKey({ processorId, epoch }), { processorId, epoch }]));
    const run = [...wanted].filter(([key]) => !this.#told.has(key)).map(([, pod]) => pod);
    const stop = [...this.#told].filter(([key]) => !wanted.has(key)).map(([, pod]) => pod);
    this.#told = wanted;
    if (run.length + stop.length > 0) this.#order({ kind: 'change', run, stop });
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    child.kill('SIGKILL');
    await exited(child);
    this.#process = null;
  }

  async end(clock: Clock): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    if (child.connected) child.disconnect();
    const late = new AbortController();
    await Promise.race([exited(child), clock.sleep(goodbye, late.signal).catch(() => undefined)]);
    late.abort();
    await this.kill();
  }

  state(): NodeState {
    return { name: this.#options.node, pid: this.#process?.pid ?? null, pods: [...this.#running.values()] };
  }

  #hear(report: AgentReport): void {
    if (report.kind === 'started') this.#running.set(podKey(report.pod), report.pod);
    if (report.kind === 'stopped') this.#running.delete(podKey(report.pod));
    this.#onReport(report);
  }

  #order(order: AgentOrder): void {
    if (this.#process?.connected === true) this.#process.send(order);
  }
}

async function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}
