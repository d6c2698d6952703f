import type { EdgeNode, NodeAppSwitch, Problem } from '../model/fleet.ts';
import { byText, type NodeId, type NodeName, type OrganizationId, type TemplateId } from '../model/ids.ts';
import { isNodeName } from '../model/kubernetes-names.ts';
import type { NodeRow, SwitchRow } from './rows.ts';
import { shown } from './secrets.ts';

export interface Nodes {
  /** Sorted by id. */
  readonly list: readonly EdgeNode[];
  /** What forbids to run anything on a node, for each node there is; no problem for most. */
  readonly problems: ReadonlyMap<string, readonly Problem[]>;
}

export function parseNodes(rows: readonly NodeRow[]): Nodes {
  const inService = new Map<string, number>();
  for (const { name, decommissioned } of rows) {
    if (name !== null && !decommissioned) inService.set(name, (inService.get(name) ?? 0) + 1);
  }
  const problems = new Map(rows.map((row) => [row.id, nodeProblems(row, inService)]));
  const usable = (id: string): boolean => problems.get(id)?.length === 0;
  return { list: rows.map((row) => toNode(row, usable)).sort((a, b) => byText(a.id, b.id)), problems };
}

/** Manifests name nodes, so a name must be one that Kubernetes can select, and belong to one node only. */
function nodeProblems({ name, decommissioned }: NodeRow, inService: ReadonlyMap<string, number>): readonly Problem[] {
  const field = 'edge_nodes.name';
  if (name === null || !isNodeName(name)) {
    return [{ code: 'invalid-name', field, value: shown(name ?? ''), mend: "Use the Kubernetes Node's name: lower-case letters, digits, - and ., at most 63." }];
  }
  if (!decommissioned && (inService.get(name) ?? 0) > 1) {
    return [{ code: 'ambiguous-node', field, value: shown(name), mend: 'Rename one of the edge nodes of this name, or decommission it.' }];
  }
  return [];
}

function toNode(row: NodeRow, usable: (id: string) => boolean): EdgeNode {
  return {
    id: row.id as NodeId,
    name: (row.name ?? '') as NodeName,
    organizationId: row.organizationId as OrganizationId | null,
    decommissioned: row.decommissioned,
    failoverEnabled: row.failoverEnabled,
    // Nothing may be sent to a node whose name selects another node, or none: as if no target were set.
    failoverTarget: row.failoverTarget !== null && usable(row.failoverTarget) ? (row.failoverTarget as NodeId) : null,
    architecture: row.architecture,
    gpu: row.gpu,
    // A site without a name is no site.
    site: row.site?.trim() === '' ? null : row.site,
  };
}

/** Sorted; of several rows for one pair, one that switches failover off wins. */
export function parseSwitches(rows: readonly SwitchRow[]): readonly NodeAppSwitch[] {
  const byPair = new Map<string, NodeAppSwitch>();
  for (const { nodeId, templateId, failoverEnabled } of rows) {
    const pair = `${nodeId} ${templateId}`;
    const enabled = failoverEnabled && byPair.get(pair)?.failoverEnabled !== false;
    byPair.set(pair, { nodeId: nodeId as NodeId, templateId: templateId as TemplateId, failoverEnabled: enabled });
  }
  return [...byPair].sort(([a], [b]) => byText(a, b)).map(([, value]) => value);
}
