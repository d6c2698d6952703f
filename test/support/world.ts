import { spending } from '../../src/model/budget.ts';
import type { EdgeNode, NodeAppSwitch, ProcessorSpec, Quarantined, Workload } from '../../src/model/fleet.ts';
import type { Digest, Epoch, NodeId, NodeName, OrganizationId, ProcessorId, RevisionId, TemplateId } from '../../src/model/ids.ts';
import { byText } from '../../src/model/ids.ts';
import { known, unknown } from '../../src/model/observed.ts';
import type { Placement } from '../../src/model/placement.ts';
import { placementAfter, type Plan } from '../../src/model/plan.ts';
import type { AgentSignals, Approval, MaintenanceLock, NodeSignals, Pause, Policy, PolicyOverride, RecordedGuard, RecordedVerdict, Snapshot } from '../../src/model/snapshot.ts';
import { instant, millis, type Instant } from '../../src/model/time.ts';
import { noControls } from '../../src/observe/controls.ts';
import { digestText } from '../../src/platform/digest.ts';
import { testPolicy } from './policy.ts';

/**
 * A world in memory for tests of `plan`: nodes that beat or are silent, processors, and the rows that `decide` would have
 * written, applied as it applies them. Names are the identities, so that a failing test reads as a story.
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
  state?: Workload['stateBackend'];
  gpu?: boolean;
  architectures?: string[];
  shutdownTimeoutSec?: number;
}

interface NodeState {
  definition: NodeDefinition;
  decommissioned: boolean;
  beating: boolean;
  lastBeat: Instant | null;
  recorded: RecordedVerdict | null;
}

interface StopState {
  lastBeatAt: Instant | null;
  beating: boolean;
  publishedAt: Instant | null;
  acknowledgedAt: Instant | null;
  confirmed: AgentSignals['confirmed'];
}

export class World {
  now = instant(Date.UTC(2026, 0, 1));
  readonly nodes = new Map<string, NodeState>();
  readonly processors = new Map<string, ProcessorDefinition & { release: number; broken: boolean }>();
  readonly switchesOff = new Set<string>();
  readonly approvals = new Map<string, Approval>();
  locks: readonly MaintenanceLock[] = [];
  pause: Pause = noControls.pause;
  /** By `match`. */
  readonly policies = new Map<string, PolicyOverride['policy']>();
  guard: RecordedGuard | null = null;
  /** When changes that count against the budget were decided, and how many. */
  readonly spendings: { readonly at: Instant; readonly changes: number }[] = [];
  readonly placements = new Map<string, Placement>();
  readonly retired = new Map<string, Epoch>();
  readonly stops = new Map<string, StopState>();
  /** Null: receivers are down. */
  coveredSince: Instant | null = instant(0);
  remoteUp = true;
  revision = 0;
  readonly policy: Policy;

  constructor(policy: Policy = testPolicy) {
    this.policy = policy;
  }

  addNode(name: string, definition: NodeDefinition = {}): void {
    this.nodes.set(name, { definition, decommissioned: false, beating: true, lastBeat: null, recorded: null });
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
    for (const stop of this.stops.values()) if (stop.beating) stop.lastBeatAt = this.now;
  }

  /** A stop signal record of a processor, made when it is first asked for: the agent was heard, and still beats. */
  stop(name: string): StopState {
    const found = this.stops.get(name) ?? { lastBeatAt: this.now, beating: true, publishedAt: null, acknowledgedAt: null, confirmed: null };
    this.stops.set(name, found);
    return found;
  }

  snapshot(): Snapshot {
    const workloads = new Map<Digest, Workload>();
    const specs = [...this.processors].map(([name, definition]) => this.#spec(name, definition, workloads));
    const isBroken = (id: ProcessorId): boolean => this.processors.get(id)?.broken ?? false;
    const quarantined: Quarantined[] = specs.filter(({ id }) => isBroken(id)).map((spec) => ({
      id: spec.id,
      problems: [{ code: 'invalid-quantity', field: 'runtime_config_template.resources.cpu_request', value: '5OOm', mend: 'write 500m' }],
      lastGood: this.placements.has(spec.id) ? spec : null,
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
      agents: this.#agents(),
      retired: [...this.retired].filter(([name]) => !this.placements.has(name)).map(([name, epoch]) => ({ processorId: name as ProcessorId, epoch })),
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
      const after = placementAfter(change, this.revision as RevisionId, plan.at);
      if (after === null) {
        this.retired.set(name, change.before?.epoch ?? (1 as Epoch));
        this.placements.delete(name);
      } else {
        this.placements.set(name, after);
      }
      if (after?.phase === 'stopping') this.stop(name).publishedAt = null;
      // The record of beats outlives a stop that is taken back; a new epoch starts a new one.
      else if (change.kind !== 'resume') this.stops.delete(name);
    }
    if (this.remoteUp) for (const stop of this.stops.values()) stop.publishedAt ??= plan.at;
    for (const { nodeId, verdict, since, flaps } of plan.transitions) this.node(nodeId).recorded = { verdict, since, flaps };
  }

  #spec(name: string, definition: ProcessorDefinition & { release: number }, workloads: Map<Digest, Workload>): ProcessorSpec {
    const workload = workloadOf(definition);
    workloads.set(workload.digest, workload);
    const home = definition.home === 'managed' ? ({ kind: 'managed' } as const) : ({ kind: 'edge', nodeId: definition.home as NodeId } as const);
    return { id: name as ProcessorId, workload: workload.digest, namespace: 'default', home, sensor: null, digest: digestText(`${name} ${workload.digest}`) };
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
    return [...this.nodes].sort(([a], [b]) => byText(a, b)).map(([name, { lastBeat, recorded }]) => ({
      nodeId: name as NodeId,
      heartbeat: lastBeat === null ? unknown('never-reported') : known(null, lastBeat),
      kubernetes: unknown('not-configured'),
      recorded,
    }));
  }

  #agents(): AgentSignals[] {
    return [...this.placements.values()].filter(({ phase }) => phase === 'stopping').map(({ processorId, epoch }) => {
      const { lastBeatAt, publishedAt, acknowledgedAt, confirmed } = this.stop(processorId);
      return { processorId, epoch, lastBeatAt, leaseUntil: null, publishedAt, acknowledgedAt, confirmed, pods: unknown('not-configured') };
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
