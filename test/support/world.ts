import { spending } from '../../src/model/budget.ts';
import type { EdgeNode, NodeAppSwitch, ProcessorSpec, Quarantined, Workload } from '../../src/model/fleet.ts';
import type { Digest, NodeId, NodeName, OrganizationId, ProcessorId, RevisionId, TemplateId } from '../../src/model/ids.ts';
import { byText } from '../../src/model/ids.ts';
import { known, unknown, type Observed } from '../../src/model/observed.ts';
import type { Placement } from '../../src/model/placement.ts';
import { placementAfter, type Plan } from '../../src/model/plan.ts';
import type { AgentSignals, Approval, MaintenanceLock, NodeCondition, NodeSignals, Pause, Policy, PolicyOverride, RecordedGuard, RecordedVerdict, Retired, Snapshot } from '../../src/model/snapshot.ts';
import { after, instant, millis, type Instant } from '../../src/model/time.ts';
import { noControls } from '../../src/observe/controls.ts';
import { inDoubt } from '../../src/observe/signals.ts';
import { digestText } from '../../src/platform/digest.ts';
import { testPolicy } from './policy.ts';

/**
 * A world in memory for tests of `plan`: nodes that beat or are silent, with or without a cluster that watches them, processors
 * with their agents, and the rows that `decide` would have written, applied as it applies them. Names are the identities, so that a failing test reads as a story.
 */
export interface NodeDefinition {
  failoverTarget?: string;
  failoverEnabled?: boolean;
  architecture?: string;
  gpu?: boolean;
  site?: string;
}

export interface ProcessorDefinition {
  /** A node's name, or `managed`. */
  home: string;
  template?: string;
  namespace?: string;
  state?: Workload['stateBackend'];
  gpu?: boolean;
  architectures?: string[];
  shutdownTimeoutSec?: number;
  /** Its agent honours leases. */
  fenced?: boolean;
}

interface NodeState {
  definition: NodeDefinition;
  decommissioned: boolean;
  beating: boolean;
  lastBeat: Instant | null;
  recorded: RecordedVerdict | null;
  /** What Kubernetes says of it, while there is a cluster. */
  condition: { ready: NodeCondition['ready']; since: Instant; taints: readonly string[] };
}

/** The agent and the pod of the current placement of one processor. */
interface AgentState {
  /** It beats whenever its node does. */
  beating: boolean;
  lastBeatAt: Instant | null;
  leaseUntil: Instant | null;
  publishedAt: Instant | null;
  acknowledgedAt: Instant | null;
  confirmed: AgentSignals['confirmed'];
  pods: 'present' | 'gone';
}

export class World {
  now = instant(Date.UTC(2026, 0, 1));
  readonly nodes = new Map<string, NodeState>();
  readonly processors = new Map<string, ProcessorDefinition & { release: number; broken: boolean }>();
  readonly switchesOff = new Set<string>();
  readonly approvals = new Map<string, Approval>();
  locks: readonly MaintenanceLock[] = [];
  pause: Pause = noControls.pause;
  foreign: Snapshot['foreign'] = [];
  /** By `match`. */
  readonly policies = new Map<string, PolicyOverride['policy']>();
  guard: RecordedGuard | null = null;
  /** When changes that count against the budget were decided, and how many. */
  readonly spendings: { readonly at: Instant; readonly changes: number }[] = [];
  readonly placements = new Map<string, Placement>();
  readonly retired = new Map<string, Pick<Retired, 'epoch' | 'target'>>();
  readonly agents = new Map<string, AgentState>();
  /** Namespace and slug under which a pod of each was started last. */
  readonly #names = new Map<string, string>();
  /** Of those that were removed: what is known of them is kept. */
  readonly #former = new Map<string, AgentState>();
  /** `off`: none is configured. */
  cluster: 'off' | 'up' | 'down' = 'off';
  /** Null: receivers are down. */
  coveredSince: Instant | null = instant(0);
  #remoteUp = true;
  revision = 0;
  readonly policy: Policy;

  constructor(policy: Policy = testPolicy) {
    this.policy = policy;
  }

  addNode(name: string, definition: NodeDefinition = {}): void {
    const condition = { ready: 'true', since: this.now, taints: [] } as const;
    this.nodes.set(name, { definition, decommissioned: false, beating: true, lastBeat: null, recorded: null, condition });
  }

  addProcessor(name: string, definition: ProcessorDefinition): void {
    this.processors.set(name, { ...definition, release: 1, broken: false });
  }

  node(name: string): NodeState {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`no node ${name} in this world`);
    return node;
  }

  approve(subject: string, covers: readonly string[] | null = null): void {
    this.approvals.set(subject, { subject, by: 'ann', at: this.now, covers: covers as readonly ProcessorId[] | null });
  }

  /** Locks a node, a processor or a template, by name. */
  lock(scope: MaintenanceLock['scope'], name: string, ms: number): void {
    const lock = { id: this.locks.length + 1, scope, subject: name, owner: 'ann', reason: 'works on it', until: instant(this.now + ms), endedAt: null };
    this.locks = [...this.locks, lock];
  }

  /** Ends all locks on it. */
  unlock(name: string): void {
    this.locks = this.locks.map((lock) => (lock.subject === name ? { ...lock, endedAt: this.now } : lock));
  }

  /** Lets time pass; who beats, has beaten at its end. */
  advance(ms: number): void {
    this.now = instant(this.now + ms);
    this.beat();
  }

  beat(): void {
    if (this.coveredSince === null) return;
    for (const node of this.nodes.values()) {
      if (node.beating && !node.decommissioned) node.lastBeat = this.now;
    }
    for (const [name, agent] of this.agents) if (this.#isHeard(name, agent)) this.#hear(name, agent);
  }

  /** The agent of a processor's placement. It was heard when it was placed, if its node beats, and beats on. */
  agent(name: string): AgentState {
    const agent = this.agents.get(name);
    if (agent === undefined) throw new Error(`${name} is placed nowhere in this world`);
    return agent;
  }

  /** Whether the Git remote can be reached; what waits for it is published as soon as it can. */
  remote(up: boolean): void {
    this.#remoteUp = up;
    this.#publish();
  }

  #publish(): void {
    if (this.#remoteUp) for (const agent of this.agents.values()) agent.publishedAt ??= this.now;
  }

  /** What the kubelet tells the cluster of a node, from now on. */
  ready(name: string, ready: NodeCondition['ready']): void {
    const { condition } = this.node(name);
    if (condition.ready !== ready) this.node(name).condition = { ...condition, ready, since: this.now };
  }

  #isHeard(name: string, { beating }: AgentState): boolean {
    const target = this.placements.get(name)?.target;
    if (this.coveredSince === null || !beating || target === undefined) return false;
    return target.kind === 'managed' || this.node(target.nodeId).beating;
  }

  #hear(name: string, agent: AgentState): void {
    agent.lastBeatAt = this.now;
    const honours = this.processors.get(name)?.fenced === true && this.placements.get(name)?.phase === 'active';
    if (honours) agent.leaseUntil = after(this.now, this.policy.lease);
  }

  snapshot(): Snapshot {
    const workloads = new Map<Digest, Workload>();
    const specs = [...this.processors].map(([name, definition]) => this.#spec(name, definition, workloads));
    const isBroken = (id: ProcessorId): boolean => this.processors.get(id)?.broken ?? false;
    const quarantined: Quarantined[] = specs.filter(({ id }) => isBroken(id)).map((spec) => ({
      id: spec.id,
      problems: [{ code: 'invalid-quantity', field: 'runtime_config_template.resources.cpu_request', value: '5OOm', mend: 'write 500m' }],
      // As it was started last: of a row that can't be read nobody knows another name.
      lastGood: this.placements.has(spec.id) ? { ...spec, namespace: this.#startedIn(spec) } : null,
    }));
    return {
      at: this.now,
      fleet: {
        digest: digestText('fleet'),
        workloads: [...workloads.values()],
        processors: specs.filter(({ id }) => !isBroken(id)),
        quarantined,
        nodes: this.#nodes(),
        switches: this.#switches(),
      },
      placements: [...this.placements.values()].sort((a, b) => byText(a.processorId, b.processorId)),
      nodes: this.#signals(),
      agents: this.#agentsInDoubt(),
      retired: [...this.retired].filter(([name]) => !this.placements.has(name)).map(([name, last]) => ({ processorId: name as ProcessorId, ...last })),
      renamed: specs.filter(({ id }) => !isBroken(id) && this.#names.has(id) && this.#names.get(id) !== this.#nameOf(id)).map(({ id }) => id),
      foreign: this.foreign,
      intake: this.coveredSince === null ? { covered: false, detail: 'receivers are down' } : { covered: true, since: this.coveredSince, until: this.now },
      policy: this.policy,
      policies: [...this.policies].sort(([a], [b]) => byText(a, b)).map(([match, policy]) => ({ match, policy })),
      approvals: [...this.approvals.values()].sort((a, b) => byText(a.subject, b.subject)),
      locks: this.locks.map((lock) => (lock.endedAt === null && lock.until <= this.now ? { ...lock, endedAt: lock.until } : lock)),
      pause: this.pause,
      guard: this.guard,
      spent: this.spendings.filter(({ at }) => at > this.now - this.policy.budget.window).reduce((sum, { changes }) => sum + changes, 0),
    };
  }

  /** What `decide` and `commit` do with a plan, as far as the next snapshot shows it. */
  apply(plan: Plan): void {
    if (plan.changes.length > 0) this.revision += 1;
    this.spendings.push({ at: plan.at, changes: plan.changes.filter((change) => spending(change) !== null).length });
    if (this.guard !== null || plan.guard.state !== 'calm') {
      const { state, since, leftPanicAt } = plan.guard;
      this.guard = { state, since, leftPanicAt };
    }
    for (const change of plan.changes) {
      const name: string = change.processorId;
      const placed = placementAfter(change, this.revision as RevisionId, plan.at);
      if (placed === null) {
        if (change.before !== null) this.retired.set(name, change.before);
        this.placements.delete(name);
        const agent = this.agents.get(name);
        if (agent !== undefined) this.#former.set(name, agent);
        this.agents.delete(name);
      } else {
        this.placements.set(name, placed);
        if (placed.phase === 'active' && this.processors.get(name)?.broken !== true) this.#names.set(name, this.#nameOf(name));
        const former = this.#former.get(name);
        if (change.kind === 'place' && placed.phase === 'stopping' && former !== undefined) this.agents.set(name, former);
        else if (change.kind === 'place' || change.before?.epoch !== placed.epoch) this.#start(name);
        // The record of beats outlives a stop that is taken back; a new epoch starts a new one.
        this.agent(name).publishedAt = null;
      }
    }
    this.#publish();
    for (const { nodeId, verdict, since, flaps } of plan.transitions) this.node(nodeId).recorded = { verdict, since, flaps };
  }

  #start(name: string): void {
    const agent: AgentState = { beating: true, lastBeatAt: null, leaseUntil: null, publishedAt: null, acknowledgedAt: null, confirmed: null, pods: 'present' };
    this.agents.set(name, agent);
    if (this.#isHeard(name, agent)) this.#hear(name, agent);
  }

  #startedIn({ id, namespace }: ProcessorSpec): string {
    return this.#names.get(id)?.split('/')[0] ?? namespace;
  }

  #nameOf(name: string): string {
    const { namespace = 'default', template = 'camera' } = this.processors.get(name) ?? {};
    return `${namespace}/${template}`;
  }

  #spec(name: string, definition: ProcessorDefinition & { release: number }, workloads: Map<Digest, Workload>): ProcessorSpec {
    const workload = workloadOf(definition);
    workloads.set(workload.digest, workload);
    const { namespace = 'default' } = definition;
    const home = definition.home === 'managed' ? ({ kind: 'managed' } as const) : ({ kind: 'edge', nodeId: definition.home as NodeId } as const);
    return { id: name as ProcessorId, workload: workload.digest, namespace, home, sensor: null, digest: digestText(`${name} ${workload.digest} ${namespace}`) };
  }

  #nodes(): EdgeNode[] {
    return [...this.nodes].sort(([a], [b]) => byText(a, b)).map(([name, { definition, decommissioned }]) => ({
      id: name as NodeId,
      name: name as NodeName,
      organizationId: 'org' as OrganizationId,
      decommissioned,
      failoverEnabled: definition.failoverEnabled ?? true,
      failoverTarget: (definition.failoverTarget ?? null) as NodeId | null,
      architecture: definition.architecture ?? null,
      gpu: definition.gpu ?? null,
      site: definition.site ?? null,
    }));
  }

  #switches(): NodeAppSwitch[] {
    return [...this.switchesOff].map((key) => {
      const [nodeId, templateId] = key.split('/');
      return { nodeId: nodeId as NodeId, templateId: templateId as TemplateId, failoverEnabled: false };
    });
  }

  #signals(): NodeSignals[] {
    return [...this.nodes].sort(([a], [b]) => byText(a, b)).map(([name, { lastBeat, recorded, condition, definition }]) => ({
      nodeId: name as NodeId,
      heartbeat: lastBeat === null ? unknown('never-reported') : known(null, lastBeat),
      kubernetes: this.#told({ ...condition, leaseAgeMs: null, architecture: null, gpu: null, site: definition.site ?? null }),
      recorded,
    }));
  }

  #told<T>(value: T): Observed<T> {
    return this.cluster === 'up' ? known(value, this.now) : unknown(this.cluster === 'off' ? 'not-configured' : 'watch-down');
  }

  #agentsInDoubt(): AgentSignals[] {
    const doubtful = inDoubt(this.#signals(), this.now, this.policy);
    return [...this.placements.values()]
      .filter(({ phase, target }) => phase === 'stopping' || (target.kind === 'edge' && doubtful.has(target.nodeId)))
      .sort((a, b) => byText(a.processorId, b.processorId))
      .map(({ processorId, epoch }) => {
        const { lastBeatAt, leaseUntil, publishedAt, acknowledgedAt, confirmed, pods } = this.agent(processorId);
        return { processorId, epoch, lastBeatAt, leaseUntil, publishedAt, acknowledgedAt, confirmed, pods: this.#told(pods) };
      });
  }
}

function workloadOf({ template = 'camera', state = 'configmap', gpu = false, architectures = [], shutdownTimeoutSec = 30, release }: ProcessorDefinition & { release: number }): Workload {
  const fields: Omit<Workload, 'digest'> = {
    templateId: template as TemplateId,
    slug: template,
    name: template,
    version: `1.0.${String(release)}`,
    image: `registry.example.com/${template}:1.0.${String(release)}`,
    imagePullPolicy: 'Always',
    command: [],
    args: [],
    port: 8080,
    resources: { cpuRequest: '500m', memoryRequest: '512Mi', cpuLimit: '2000m', memoryLimit: '2Gi', gpuLimit: gpu ? '1' : null },
    probes: { livenessPath: '/healthz', readinessPath: '/ready', port: 8080, initialDelaySec: 60, periodSec: 10, timeoutSec: 3, failureThreshold: 3 },
    env: [],
    shutdownTimeoutSec,
    stateBackend: state,
    architectures,
    security: { runAsNonRoot: true, runAsUser: null, runAsGroup: null, fsGroup: null, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true, addCapabilities: [] },
  };
  return { digest: digestText(JSON.stringify(fields)), ...fields };
}

/** `61s`, `2m`, `500ms` in a scenario file. */
export function span(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? [];
  const size = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[unit ?? ''];
  if (amount === undefined || size === undefined) throw new Error(`not a span of time: ${text}`);
  return millis(Number(amount) * size);
}
