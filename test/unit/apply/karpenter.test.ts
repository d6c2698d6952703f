import { describe, expect, test } from 'vitest';
import { explainCapacity, type NodeClaim, type NodePool } from '../../../src/apply/karpenter.ts';

const labels = { 'workload-type': 'application' };
const pool = (given: { readonly limits?: Record<string, string | number>; readonly used?: Record<string, string>; readonly ready?: string; readonly template?: NodePool['spec']['template'] } = {}): NodePool => ({
  metadata: { name: 'dory-app-pool' },
  spec: { limits: given.limits, template: given.template ?? { metadata: { labels } } },
  status: { resources: given.used, conditions: given.ready === undefined ? [] : [{ type: 'Ready', status: given.ready, reason: 'UnhealthyDependents', message: 'NodeClassReady=False' }] },
});
const claim = (conditions: Readonly<Record<string, string>>, of = 'dory-app-pool'): NodeClaim => ({
  metadata: { name: 'dory-app-pool-x7', labels: { 'karpenter.sh/nodepool': of } },
  status: { conditions: Object.entries(conditions).map(([type, status]) => ({ type, status, reason: 'InsufficientCapacity', message: 'no t3.medium in us-east-2a' })) },
});
const withConditions = (...conditions: readonly (readonly [type: string, status: string, reason: string, message: string])[]): NodePool =>
  ({ ...pool(), status: { conditions: conditions.map(([type, status, reason, message]) => ({ type, status, reason, message })) } });
const why = (pools: readonly NodePool[], claims: readonly NodeClaim[] = [], requests: Readonly<Record<string, number>> = { cpu: 0.5 }): readonly string[] =>
  explainCapacity({ pools, claims }, { requests: new Map(Object.entries(requests)) });

describe('why pods of the managed pool have no node', () => {
  test.each<[string, readonly string[], readonly string[]]>([
    ['nothing is known to be wrong', why([pool({ limits: { cpu: 100 }, used: { cpu: '10' }, ready: 'True' })]), []],
    ['a limit is reached', why([pool({ limits: { cpu: '100' }, used: { cpu: '100' } })]), ['NodePool dory-app-pool: limit cpu 100 reached (100 in use)']],
    ['what is left is too little', why([pool({ limits: { cpu: '100' }, used: { cpu: '99600m' } })]), ['NodePool dory-app-pool: limit cpu 100 reached (99600m in use)']],
    ['what is left is just enough', why([pool({ limits: { cpu: '100' }, used: { cpu: '99500m' } })]), []],
    ['nothing may be used', why([pool({ limits: { memory: 0 } })]), ['NodePool dory-app-pool: limit memory 0 reached (0 in use)']],
    ['other units', why([pool({ limits: { memory: '1Gi' }, used: { memory: '1024Mi' } })]), ['NodePool dory-app-pool: limit memory 1Gi reached (1024Mi in use)']],
    ['the pool is not ready', why([pool({ ready: 'False' })]), ['NodePool dory-app-pool is not ready: UnhealthyDependents: NodeClassReady=False']],
    ['what the pool waits for is not ready', why([withConditions(['Ready', 'False', 'UnhealthyDependents', 'NodeClassReady=False'], ['ValidationSucceeded', 'True', 'ValidationSucceeded', ''], ['NodeClassReady', 'False', 'SubnetsReady', 'no subnet matches'])]),
      ['NodePool dory-app-pool is not ready: NodeClassReady: SubnetsReady: no subnet matches']],
    ['its nodes do not join', why([withConditions(['Ready', 'True', 'Ready', ''], ['NodeRegistrationHealthy', 'False', 'RegistrationTimeout', 'timed out'])]), ['NodePool dory-app-pool: its nodes fail to join the cluster: RegistrationTimeout: timed out']],
    ['whether its nodes join is not known', why([withConditions(['Ready', 'True', 'Ready', ''], ['NodeRegistrationHealthy', 'Unknown', 'AwaitingReconciliation', ''])]), []],
    ['no pool is for them', why([pool({ template: {} })]), ['no NodePool gives nodes that are labelled workload-type=application']],
    ['a pool is, by a requirement', why([pool({ template: { spec: { requirements: [{ key: 'workload-type', operator: 'In', values: ['batch', 'application'] }] } } })]), []],
    ['a node does not come', why([pool()], [claim({ Launched: 'False' })]), ['NodeClaim dory-app-pool-x7 is not launched yet: InsufficientCapacity: no t3.medium in us-east-2a']],
    ['a node is on its way', why([pool()], [claim({ Launched: 'True' })]), ['NodeClaim dory-app-pool-x7 is not registered yet']],
    ['a node has come', why([pool()], [claim({ Launched: 'True', Registered: 'True', Initialized: 'True' })]), []],
    ["another pool's node does not come", why([pool()], [claim({ Launched: 'False' }, 'other')]), []],
  ])('%s', (_what, told, expected) => {
    expect(told).toEqual(expected);
  });
});
