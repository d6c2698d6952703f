import { App, Chart, Yaml } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import type { EnvVar, Workload } from '../src/model/fleet.ts';
import type { Phase } from '../src/model/placement.ts';
import { container } from './processor/container.ts';
import { nodeSelector, tolerations } from './processor/target.ts';
import { stateClaims, volumes } from './processor/volumes.ts';

/** Where a pod may run, as the manifest says it. */
export type ProcessorTarget = { readonly kind: 'edge'; readonly nodeName: string } | { readonly kind: 'managed' };

/** All that the manifest of one placement depends on. Numbers of ours are decimal text: that is what a manifest holds. */
export interface ProcessorProps {
  /** The StatefulSet's name, at most 52 characters: its pods' labels append 11 to it. */
  readonly name: string;
  readonly namespace: string;
  readonly processorId: string;
  readonly epoch: string;
  readonly revision: string;
  readonly reason: string;
  readonly phase: Phase;
  readonly target: ProcessorTarget;
  readonly workload: Workload;
  /** Sorted by name; it wins over the template's. */
  readonly sensorEnv: readonly EnvVar[];
  /** How often the credentials of its Secrets were replaced; null while none ever was. */
  readonly secretVersions: string | null;
  /** A docker-registry Secret of the namespace; null if images need none. */
  readonly imagePullSecret: string | null;
  /** Where agents send heartbeats, unless the template names another place; null leaves it to the SDK. */
  readonly orchestratorUrl: string | null;
}

/** Between the SDK's own deadline and the kernel's: time to flush, to exit, and for the kubelet to notice. */
const terminationMarginSec = 5;

/** Seconds from SIGTERM to SIGKILL, by what the SDK is given to stop. */
function terminationGraceSec(shutdownTimeoutSec: number): number {
  return shutdownTimeoutSec + terminationMarginSec;
}

/** One placement of one processor: one StatefulSet, and nothing else. */
class ProcessorChart extends Chart {
  constructor(scope: Construct, id: string, props: ProcessorProps) {
    super(scope, id);
    new k8s.KubeStatefulSet(this, 'placement', { metadata: metadata(props), spec: spec(props) });
  }
}

/** The manifest as `cdk8s synth` writes it: one YAML document. */
export function printProcessor(props: ProcessorProps): string {
  // With every option given, App reads no environment.
  const app = new App({ outdir: 'unused', recordConstructMetadata: false });
  return Yaml.stringify(...(new ProcessorChart(app, 'processor', props).toJson() as unknown[]));
}

/** Keys stand in order: cdk8s sorts them too, but only while an environment variable does not tell it otherwise. */
function labels({ workload, processorId, target }: ProcessorProps): Record<string, string> {
  return { app: workload.slug, 'managed-by': 'dory-orchestrator', 'processor-id': processorId, 'workload-location': target.kind };
}

function metadata(props: ProcessorProps): k8s.ObjectMeta {
  const { name, namespace, epoch, reason, revision, workload } = props;
  const annotations = {
    'dory.io/epoch': epoch,
    'dory.io/reason': reason,
    'dory.io/revision': revision,
    // An image by digest says nothing to a reader.
    'dory.io/version': workload.version,
  };
  return { name, namespace, labels: labels(props), annotations };
}

function spec(props: ProcessorProps): k8s.StatefulSetSpec {
  // The epoch is part of what selects: no StatefulSet ever adopts the pod of another epoch.
  const identity = { 'dory.io/epoch': props.epoch, 'processor-id': props.processorId };
  const claims = stateClaims(props.workload);
  return {
    replicas: props.phase === 'active' ? 1 : 0,
    // The field is required; empty is "no Service", and the pod needs no name of its own in DNS.
    serviceName: '',
    selector: { matchLabels: identity },
    // With OrderedReady, a pod that never becomes ready keeps its own repair from being rolled out.
    podManagementPolicy: 'Parallel',
    updateStrategy: { type: 'RollingUpdate' },
    // Git is the history; at 50,000 processors ten revisions each are half a million objects.
    revisionHistoryLimit: 1,
    template: {
      metadata: { labels: sorted({ ...labels(props), ...identity }), annotations: podAnnotations(props) },
      spec: podSpec(props),
    },
    ...(claims.length > 0 ? { volumeClaimTemplates: claims } : {}),
  };
}

/** A pod reads its credentials when it starts: a version that rises makes Kubernetes start it again. */
function podAnnotations({ epoch, secretVersions }: ProcessorProps): Record<string, string> {
  return { 'dory.io/epoch': epoch, ...(secretVersions === null ? {} : { 'dory.io/secret-versions': secretVersions }) };
}

function podSpec(props: ProcessorProps): k8s.PodSpec {
  const { workload, target, imagePullSecret } = props;
  const { runAsNonRoot, runAsUser, runAsGroup, fsGroup } = workload.security;
  const tolerated = tolerations(target, workload.resources.gpuLimit !== null);
  const mounted = volumes(workload);
  return {
    serviceAccountName: 'dory-processor',
    // The SDK keeps its state in a ConfigMap.
    automountServiceAccountToken: true,
    terminationGracePeriodSeconds: terminationGraceSec(workload.shutdownTimeoutSec),
    ...(imagePullSecret === null ? {} : { imagePullSecrets: [{ name: imagePullSecret }] }),
    nodeSelector: nodeSelector(target),
    ...(tolerated.length > 0 ? { tolerations: tolerated } : {}),
    securityContext: {
      runAsNonRoot,
      ...(runAsUser === null ? {} : { runAsUser }),
      ...(runAsGroup === null ? {} : { runAsGroup }),
      ...(fsGroup === null ? {} : { fsGroup }),
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [container(props)],
    ...(mounted.length > 0 ? { volumes: mounted } : {}),
  };
}

function sorted(map: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
}
