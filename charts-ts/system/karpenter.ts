import { Chart } from 'cdk8s';
import type { Construct } from 'constructs';
import {
  Ec2NodeClass, Ec2NodeClassSpecAmiFamily, Ec2NodeClassSpecBlockDeviceMappingsEbsVolumeType, Ec2NodeClassSpecMetadataOptionsHttpTokens,
  type Ec2NodeClassSpec,
} from '../imports/karpenter.k8s.aws.ts';
import {
  NodePool, NodePoolSpecDisruptionConsolidationPolicy, NodePoolSpecLimits, NodePoolSpecTemplateSpecRequirementsOperator,
  type NodePoolSpec, type NodePoolSpecTemplateSpecRequirements,
} from '../imports/karpenter.sh.ts';
import type { SystemProps } from './props.ts';

const poolName = 'dory-app-pool';
const nodeClassName = 'dory-app-nodeclass';

/** Nodes for processors that are not at the edge: what Karpenter provisions them from. */
export class KarpenterChart extends Chart {
  constructor(scope: Construct, id: string, props: SystemProps) {
    super(scope, id);
    new NodePool(this, 'pool', { metadata: { name: poolName }, spec: nodePool(props) });
    new Ec2NodeClass(this, 'class', { metadata: { name: nodeClassName }, spec: nodeClass(props) });
  }
}

function nodePool({ nodeExpireAfter }: SystemProps): NodePoolSpec {
  return {
    template: {
      // No taints: processors select these nodes by the first label.
      metadata: { labels: { 'workload-type': 'application', 'managed-by': 'dory-orchestrator' } },
      spec: {
        requirements: [
          oneOf('kubernetes.io/arch', 'amd64'),
          oneOf('kubernetes.io/os', 'linux'),
          oneOf('karpenter.sh/capacity-type', 'on-demand'),
          oneOf('node.kubernetes.io/instance-type', 't3.small', 't3.medium', 't3a.small', 't3a.medium'),
        ],
        nodeClassRef: { group: 'karpenter.k8s.aws', kind: 'EC2NodeClass', name: nodeClassName },
        expireAfter: nodeExpireAfter,
      },
    },
    limits: { cpu: NodePoolSpecLimits.fromNumber(100), memory: NodePoolSpecLimits.fromString('400Gi') },
    disruption: {
      consolidationPolicy: NodePoolSpecDisruptionConsolidationPolicy.WHEN_EMPTY,
      consolidateAfter: '3m',
      budgets: [{ nodes: '20%' }],
    },
    weight: 10,
  };
}

function oneOf(key: string, ...values: string[]): NodePoolSpecTemplateSpecRequirements {
  return { key, operator: NodePoolSpecTemplateSpecRequirementsOperator.IN, values };
}

function nodeClass({ eksCluster, kubelet }: SystemProps): Ec2NodeClassSpec {
  const discovered = (): { tags: Record<string, string> }[] => [{ tags: { 'karpenter.sh/discovery': eksCluster } }];
  return {
    amiFamily: Ec2NodeClassSpecAmiFamily.AL2023,
    amiSelectorTerms: [{ alias: 'al2023@latest' }],
    role: `KarpenterNodeRole-${eksCluster}`,
    subnetSelectorTerms: discovered(),
    securityGroupSelectorTerms: discovered(),
    kubelet: { kubeReserved: { ...kubelet.kubeReserved }, systemReserved: { ...kubelet.systemReserved }, evictionHard: { ...kubelet.evictionHard } },
    blockDeviceMappings: [
      {
        deviceName: '/dev/xvda',
        ebs: { volumeType: Ec2NodeClassSpecBlockDeviceMappingsEbsVolumeType.GP3, volumeSize: '30Gi', encrypted: true },
      },
    ],
    metadataOptions: { httpTokens: Ec2NodeClassSpecMetadataOptionsHttpTokens.REQUIRED },
    detailedMonitoring: true,
  };
}
