import type { Digest, Epoch, NodeId, NodeName, OrganizationId, ProcessorId, TemplateId } from '../../src/model/ids.ts';
import type { EdgeNode, Fleet, ProcessorSpec, Workload } from '../../src/model/fleet.ts';
import type { Placement } from '../../src/model/placement.ts';
import type { Change } from '../../src/model/plan.ts';
import type { Approval, MaintenanceLock, Pause, RecordedGuard, RecordedVerdict, Retired } from '../../src/model/snapshot.ts';
import type { Instant } from '../../src/model/time.ts';
import type { ProcessorScript, Script } from './script.ts';

/** What the database holds: the operator's tables and ours. One run's rows are plain data, so that a backup is a copy. */
export interface Rows {
  /** `processors`: what should run, and where its home is. */
  readonly desired: Map<string, { home: string; release: number; slug?: string }>;
  readonly decommissioned: Set<string>;
  /** What processors are called that were renamed, also while their row is gone. */
  readonly slugs: Map<string, string>;
  /** Raised by every edit of the two above. */
  edits: number;
  /** `edge_nodes.last_heartbeat_at`. */
  readonly heartbeats: Map<string, Instant>;
  readonly leader: { holder: string | null; epoch: number; expiresAt: number };
  /** `dory.state.revision`. */
  revision: number;
  readonly revisions: RevisionRow[];
  readonly placements: Map<string, Placement>;
  readonly retired: Map<string, Pick<Retired, 'epoch' | 'target'>>;
  readonly verdicts: Map<string, RecordedVerdict>;
  readonly beats: Map<string, BeatRow>;
  readonly confirmations: Map<string, { epoch: Epoch; at: Instant }>;
  /** `dory.power_offs`: when it was said of a node. */
  readonly powerOffs: Map<string, Instant>;
  intake: { since: Instant; until: Instant } | null;
  readonly approvals: Map<string, Approval>;
  readonly locks: MaintenanceLock[];
  pause: Pause;
  guard: RecordedGuard | null;
  /** `dory.handovers`: by processor, or `fleet`. */
  readonly handovers: Map<string, 'ours' | 'theirs'>;
  /** When each of them was said. */
  readonly handedAt: Map<string, Instant>;
  /** `dory.adoptions`, by the pod's uid: those that have not ended. */
  readonly adoptions: Map<number, { readonly processor: string; gone: boolean }>;
  readonly holds: Map<string, { reason: string; needsPerson: boolean; since: Instant }>;
}

interface RevisionRow {
  readonly id: number;
  readonly decidedAt: Instant;
  readonly leaderEpoch: number;
  readonly changes: readonly Change[];
  committedAt: Instant | null;
}

export interface BeatRow {
  epoch: Epoch;
  lastBeatAt: Instant;
  leaseUntil: Instant | null;
  acknowledgedAt: Instant | null;
}

export function firstRows(script: Script): Rows {
  return {
    desired: new Map(script.processors.map(({ name, home }) => [name, { home, release: 1 }])),
    decommissioned: new Set(),
    slugs: new Map(),
    edits: 0,
    heartbeats: new Map(),
    leader: { holder: null, epoch: 0, expiresAt: 0 },
    revision: 0,
    revisions: [],
    placements: new Map(),
    retired: new Map(),
    verdicts: new Map(),
    beats: new Map(),
    confirmations: new Map(),
    powerOffs: new Map(),
    intake: null,
    approvals: new Map(),
    locks: [],
    pause: { paused: null, resumedAt: null },
    guard: null,
    handovers: new Map(),
    handedAt: new Map(),
    adoptions: new Map(),
    holds: new Map(),
  };
}

/** The operator's tables as `observe` parses them. */
export function fleetOf(script: Script, rows: Pick<Rows, 'desired' | 'decommissioned' | 'edits'>): Fleet {
  const workloads = new Map<Digest, Workload>();
  const processors: ProcessorSpec[] = [];
  for (const definition of script.processors) {
    const row = rows.desired.get(definition.name);
    if (row === undefined) continue;
    const workload = workloadOf(definition, row.release, row.slug);
    workloads.set(workload.digest, workload);
    processors.push({
      id: definition.name as ProcessorId,
      workload: workload.digest,
      namespace: 'default',
      home: row.home === 'managed' ? { kind: 'managed' } : { kind: 'edge', nodeId: row.home as NodeId },
      sensor: null,
      digest: `${definition.name} ${workload.digest}` as Digest,
    });
  }
  const nodes = script.nodes.map(({ name, site, failoverTarget }): EdgeNode => ({
    id: name as NodeId,
    name: name as NodeName,
    organizationId: 'org' as OrganizationId,
    decommissioned: rows.decommissioned.has(name),
    failoverEnabled: true,
    failoverTarget: failoverTarget as NodeId | null,
    architecture: null,
    gpu: null,
    site,
  }));
  return { digest: String(rows.edits) as Digest, workloads: [...workloads.values()], processors, quarantined: [], nodes, switches: [] };
}

/** Each processor has a template of its own: they differ in their stop grace. */
function workloadOf({ name, shutdownTimeoutSec }: ProcessorScript, release: number, slug = name): Workload {
  const version = `1.0.${String(release)}`;
  return {
    digest: `${slug} ${version}` as Digest,
    templateId: `template-${name}` as TemplateId,
    slug,
    name,
    version,
    image: `registry.example.com/${name}:${version}`,
    imagePullPolicy: 'Always',
    command: [],
    args: [],
    port: 8080,
    resources: { cpuRequest: '500m', memoryRequest: '512Mi', cpuLimit: '2000m', memoryLimit: '2Gi', gpuLimit: null },
    probes: { livenessPath: '/healthz', readinessPath: '/ready', port: 8080, initialDelaySec: 60, periodSec: 10, timeoutSec: 3, failureThreshold: 3 },
    env: [],
    shutdownTimeoutSec,
    stateBackend: 'configmap',
    architectures: [],
    security: { runAsNonRoot: true, runAsUser: null, runAsGroup: null, fsGroup: null, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true, addCapabilities: [] },
  };
}

/** Of the digest that `fleetOf` gives a specification. */
export function slugOf(specDigest: string): string {
  return specDigest.split(' ')[1] ?? '';
}
