import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { httpPort, metricsServiceName } from './names.ts';
import type { SystemProps } from './props.ts';

const beaconName = 'dory-beacon';
/** Agents' own pace. */
const everySec = 5;
const nobody = 65534;
/** Where the container finds the folder of its node, and the file in it. */
const tokenFolder = '/etc/dory-beacon';
const tokenFile = `${tokenFolder}/token`;

/**
 * A heartbeat of each edge node itself, with no processor: that a node is back is then heard of before something runs on it again.
 * It goes wherever an edge node is, however tainted, and takes next to nothing.
 */
export class BeaconChart extends Chart {
  constructor(scope: Construct, id: string, props: SystemProps) {
    super(scope, id);
    const labels = (): { app: string } => ({ app: beaconName });
    new k8s.KubeDaemonSet(this, 'beacon', {
      metadata: { name: beaconName, namespace: props.namespace, labels: labels() },
      spec: {
        selector: { matchLabels: labels() },
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: k8s.IntOrString.fromString('10%') } },
        template: { metadata: { labels: labels() }, spec: podSpec(props) },
      },
    });
  }
}

function podSpec({ beacon, namespace, shared }: SystemProps): k8s.PodSpec {
  const url = beacon.url ?? `http://${metricsServiceName}.${namespace}.svc.cluster.local:${String(httpPort.number)}`;
  return {
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    imagePullSecrets: [{ name: shared.imagePullSecret }],
    nodeSelector: { 'node-type': 'edge' },
    tolerations: [{ operator: 'Exists' }],
    // It has nothing to finish.
    terminationGracePeriodSeconds: 1,
    securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [container(beacon.image, url, beacon.tokenFolder !== null)],
    // Of the node, and not from a Secret: each node could read all of that one. A folder, so that a token that is replaced is seen.
    ...(beacon.tokenFolder === null ? {} : { volumes: [{ name: 'token', hostPath: { path: beacon.tokenFolder, type: 'Directory' } }] }),
  };
}

function container(image: string, url: string, withToken: boolean): k8s.Container {
  return {
    name: 'beacon',
    image,
    command: ['/bin/sh', '-c', script(withToken)],
    env: [
      { name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
      { name: 'URL', value: `${url}/api/v1/edge/heartbeat` },
    ],
    resources: {
      requests: { cpu: k8s.Quantity.fromString('1m'), memory: k8s.Quantity.fromString('4Mi') },
      limits: { memory: k8s.Quantity.fromString('16Mi') },
    },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
    ...(withToken ? { volumeMounts: [{ name: 'token', mountPath: tokenFolder, readOnly: true }] } : {}),
  };
}

/**
 * A beat that fails is said and is the next one's business. The token is read for each beat: one that was replaced is used at once.
 */
function script(withToken: boolean): string {
  const token = withToken ? ` --header "Authorization: Bearer $(cat ${tokenFile})"` : '';
  return [
    // The first process of a container dies of no signal that it does not handle.
    "trap 'exit 0' TERM",
    'while :; do',
    `  wget -q -T ${String(everySec)} -O /dev/null --header "Content-Type: application/json"${token} --post-data "{\\"node_id\\":\\"$NODE_NAME\\",\\"status\\":\\"healthy\\"}" "$URL" || echo "no answer from $URL" >&2`,
    `  sleep ${String(everySec)} & wait $!`,
    'done',
  ].join('\n');
}
