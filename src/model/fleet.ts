import type { Digest, NodeId, NodeName, OrganizationId, ProcessorId, SensorId, TemplateId } from './ids.ts';

/**
 * What should run, as the operator's tables say it, parsed and free of secrets.
 *
 * While none of the desired columns changes, `observe` hands out the very same object, so that later stages may
 * compare by identity. Every list is sorted by identity: the order of rows in the database is never visible.
 */
export interface Fleet {
  /** Of the desired columns only; columns that we write ourselves are not in it. */
  readonly digest: Digest;
  /** Sorted by `digest`; each one that a processor below (or the last good spec of one) refers to. */
  readonly workloads: readonly Workload[];
  /** Sorted by `id`: processors that can be rendered. */
  readonly processors: readonly ProcessorSpec[];
  /** Sorted by `id`: processors that can't, with what is wrong and how to mend it. */
  readonly quarantined: readonly Quarantined[];
  /** Sorted by `id`. */
  readonly nodes: readonly EdgeNode[];
  /** Sorted by node, then template: the switches of `edge_node_apps`. */
  readonly switches: readonly NodeAppSwitch[];
}

/** One release of a template, parsed from `processor_template_versions`: all that its processors share. */
export interface Workload {
  /** Of all the fields below. */
  readonly digest: Digest;
  readonly templateId: TemplateId;
  /** `processor_templates.slug`: a DNS label. */
  readonly slug: string;
  /** `processor_templates.name`: free text, untrusted. */
  readonly name: string;
  readonly version: string;
  /** The complete reference, `repository@sha256:…` where a digest is known, `image_uri` otherwise. */
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly command: readonly string[];
  readonly args: readonly string[];
  /** 1 to 65535. */
  readonly port: number;
  readonly resources: Resources;
  readonly probes: Probes;
  /** Sorted by name; no two share one. */
  readonly env: readonly EnvVar[];
  /** What the SDK is given to stop, in seconds (`DORY_SHUTDOWN_TIMEOUT_SEC`, 30 if absent). */
  readonly shutdownTimeoutSec: number;
  readonly stateBackend: StateBackend;
  /** Kubernetes architecture names that the image runs on; empty means unknown, and no rule. */
  readonly architectures: readonly string[];
  readonly security: SecurityContext;
}

export type StateBackend = 'configmap' | 's3' | 'local' | 'pvc';

/** Kubernetes quantities as written (`500m`, `2Gi`), already checked. */
export interface Resources {
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly cpuLimit: string;
  readonly memoryLimit: string;
  /** A count of `nvidia.com/gpu`, or null where none is asked for. */
  readonly gpuLimit: string | null;
}

export interface Probes {
  readonly livenessPath: string;
  readonly readinessPath: string;
  readonly port: number;
  readonly initialDelaySec: number;
  readonly periodSec: number;
  readonly timeoutSec: number;
  readonly failureThreshold: number;
}

/** The restricted profile, unless the template relaxes a field. */
export interface SecurityContext {
  readonly runAsNonRoot: boolean;
  /** Null: what the image says. */
  readonly runAsUser: number | null;
  readonly runAsGroup: number | null;
  readonly fsGroup: number | null;
  readonly allowPrivilegeEscalation: boolean;
  readonly privileged: boolean;
  readonly readOnlyRootFilesystem: boolean;
  /** Capabilities added to the empty set. */
  readonly addCapabilities: readonly string[];
}

export type EnvVar =
  | { readonly name: string; readonly value: string }
  | { readonly name: string; readonly secret: SecretKey };

/** Where a credential is found in the cluster. Its value goes from the database to that Secret (`apply/secrets.ts`) and nowhere else. */
export interface SecretKey {
  /** `dory-sensor-<sensor id>` or `dory-env-<template id>`. */
  readonly name: string;
  readonly key: string;
}

export interface ProcessorSpec {
  readonly id: ProcessorId;
  /** The `Workload` of the template's active version. */
  readonly workload: Digest;
  readonly namespace: string;
  readonly home: Home;
  readonly sensor: SensorSpec | null;
  /** `env=2,sensor=3`: how often its credentials were replaced, counted from 1. Absent while none ever was. */
  readonly secretVersions?: string;
  /** Of what rendering reads: all the fields above but `home`. */
  readonly digest: Digest;
}

/** Where a processor runs while nothing is wrong. */
export type Home = { readonly kind: 'edge'; readonly nodeId: NodeId } | { readonly kind: 'managed' };

export interface SensorSpec {
  readonly id: SensorId;
  readonly type: string;
  /** Sorted by name. */
  readonly env: readonly EnvVar[];
}

/** A row that can't be rendered. It stays as it was, and may still leave a dead node. */
export interface Quarantined {
  readonly id: ProcessorId;
  /** At least one, sorted by `field`. */
  readonly problems: readonly Problem[];
  /** What it was last rendered from; null if it never was. */
  readonly lastGood: ProcessorSpec | null;
}

export interface Problem {
  readonly code: ProblemCode;
  /** As a person finds it: `runtime_config_template.resources.cpu_request`. */
  readonly field: string;
  /** What stands there, at most 80 characters; null where it could be a secret, or where nothing stands there. */
  readonly value: string | null;
  /** A sentence that says what to do. */
  readonly mend: string;
}

export type ProblemCode =
  | 'invalid-json'
  | 'invalid-value'
  | 'invalid-name'
  | 'invalid-quantity'
  | 'missing-template'
  | 'missing-version'
  | 'ambiguous-version'
  | 'missing-node'
  | 'ambiguous-node'
  | 'missing-sensor'
  | 'duplicate-path';

/** One row of `edge_nodes`: what the operator says of it. Signals of life are in `snapshot.ts`. */
export interface EdgeNode {
  readonly id: NodeId;
  readonly name: NodeName;
  readonly organizationId: OrganizationId | null;
  readonly decommissioned: boolean;
  /** NULL in the database means true. */
  readonly failoverEnabled: boolean;
  readonly failoverTarget: NodeId | null;
  /** Known from Kubernetes or from a fleet file; null is unknown. */
  readonly architecture: string | null;
  readonly gpu: boolean | null;
  /** From the column that the settings name; null: its organisation is its site, unless Kubernetes knows better. */
  readonly site: string | null;
}

/** One row of `edge_node_apps`. A pair without a row follows the node's own switch. */
export interface NodeAppSwitch {
  readonly nodeId: NodeId;
  readonly templateId: TemplateId;
  /** NULL in the database means true. */
  readonly failoverEnabled: boolean;
}
