import { stringify } from 'yaml';
import type { Policy, Snapshot } from '../../../src/model/snapshot.ts';
import { parseFleetFile } from '../../../src/observe/fleet-file.ts';
import { testPolicy } from '../../support/policy.ts';

/** Nodes by name with how many processors are at home there, all well; sites `north` and `south` in turn. */
export function fleetOf(nodes: Readonly<Record<string, number>>, policy: Policy = testPolicy, more: Readonly<Record<string, object>> = {}): Snapshot {
  const file = {
    now: '2026-01-01T00:00:00Z',
    placed: true,
    templates: [{ slug: 'camera', version: '1.0.0', image: 'registry.example.com/camera:1.0.0' }],
    nodes: Object.keys(nodes).map((name, i) => ({ name, site: i % 2 === 0 ? 'north' : 'south', verdict: 'healthy', ...more[name] })),
    processors: Object.entries(nodes).flatMap(([node, count]) => Array.from({ length: count }, (_, i) => ({ name: `${node}-${String(i)}`, template: 'camera', node }))),
  };
  return parseFleetFile(stringify(file), { policy, defaultNamespace: 'default' });
}
