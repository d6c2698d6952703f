import type { Fleet } from '../model/fleet.ts';
import { byText, type Epoch, type NodeId, type NodeName, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { known, unknown } from '../model/observed.ts';
import type { Placement, Target } from '../model/placement.ts';
import type { AgentSignals, NodeSignals, Policy, Snapshot } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import { digestText } from '../platform/digest.ts';
import type { ObserveSettings } from './database.ts';
import { noControls } from './controls.ts';
import { ageMs, readFleetFile, type ReadFleetFile } from './fleet-file-read.ts';
import { toRows, type ColumnValues, type FleetFileRows } from './fleet-file-rows.ts';
import type { FleetFile } from './fleet-file-schema.ts';
import { assemble, parseTables, toFleet } from './parse-fleet.ts';
import type { Tables } from './rows.ts';

/**
 * The snapshot of a fleet that was written down, at its own `now`. Rows are parsed as the database's are, so a row that
 * would be quarantined there is quarantined here.
 * @throws Failure `fleet-file-invalid`, with every error, its path and its line.
 */
export function parseFleetFile(text: string, settings: Pick<ObserveSettings, 'policy' | 'defaultNamespace'>): Snapshot {
  const read = readFleetFile(text);
  const at = instant(Date.parse(read.file.now));
  const parsed = parseTables(toTables(read, toRows(read, at)));
  const fleet = toFleet(parsed, assemble(parsed, settings.defaultNamespace, null), new Map());
  const current = currentPlacements(read, fleet, at);
  return {
    at,
    fleet,
    placements: current.map(({ placement }) => placement),
    nodes: nodeSignals(read, at),
    agents: current.flatMap(({ stop }) => (stop === null ? [] : [stop])),
    retired: [],
    renamed: [],
    foreign: [],
    intake: { covered: true, since: instant(0), until: at },
    policy: policyOf(read.file, settings.policy),
    ...noControls,
  };
}

/** The rows as a query would bring them. */
function toTables({ file }: ReadFleetFile, rows: FleetFileRows): Tables {
  const hash = '';
  const cell = (row: ColumnValues, column: string): string | null => {
    const value = row[column] ?? null;
    return value === null || typeof value === 'string' ? value : JSON.stringify(value);
  };
  return {
    processors: rows.processors.map((row) => ({
      hash, id: cell(row, 'id') ?? '', templateId: cell(row, 'processor_template_id'), nodeType: cell(row, 'node_type'), nodeId: cell(row, 'node_id'),
      namespace: cell(row, 'k8s_namespace'), sensorId: cell(row, 'sensor_id'),
    })),
    templates: rows.processor_templates.map((row) => ({ hash, id: cell(row, 'id') ?? '', slug: cell(row, 'slug'), name: cell(row, 'name') })),
    versions: rows.processor_template_versions.map((row) => ({
      hash, templateId: cell(row, 'processor_template_id'), imageUri: cell(row, 'image_uri'), digest: cell(row, 'digest'), version: cell(row, 'version'),
      runtimeConfig: cell(row, 'runtime_config_template'), buildConfig: cell(row, 'build_config'),
    })),
    sensors: rows.sensors.map((row) => ({ hash, id: cell(row, 'id') ?? '', type: cell(row, 'sensor_type'), connectionConfig: cell(row, 'connection_config') })),
    nodes: rows.edge_nodes.map((row, i) => ({
      hash, id: cell(row, 'id') ?? '', organizationId: cell(row, 'organization_id'), name: cell(row, 'name'),
      decommissioned: row['status'] === 'decommissioned', failoverEnabled: row['failover_enabled'] !== false, failoverTarget: cell(row, 'failover_target_node_id'),
      architecture: file.nodes[i]?.architecture ?? null, gpu: file.nodes[i]?.gpu ?? null, site: file.nodes[i]?.site ?? null,
    })),
    switches: rows.edge_node_apps.map((row) => ({
      hash, nodeId: cell(row, 'edge_node_id') ?? '', templateId: cell(row, 'processor_config_id') ?? '', failoverEnabled: row['failover_enabled'] !== false,
    })),
  };
}

function nodeSignals({ file, nodeIds }: ReadFleetFile, at: Instant): readonly NodeSignals[] {
  return file.nodes
    .map(({ heartbeatAge, verdict, verdictAge }, i) => ({
      nodeId: nodeIds[i] as NodeId,
      heartbeat: heartbeatAge === 'never' ? unknown('never-reported') : known(null, ago(at, heartbeatAge)),
      kubernetes: unknown('not-configured'),
      recorded: verdict === undefined ? null : { verdict, since: ago(at, verdictAge), flaps: 0 },
    }))
    .sort((a, b) => byText(a.nodeId, b.nodeId));
}

interface Current {
  readonly placement: Placement;
  readonly stop: AgentSignals | null;
}

function currentPlacements(read: ReadFleetFile, fleet: Fleet, at: Instant): readonly Current[] {
  const digests = new Map(fleet.processors.map(({ id, digest }) => [id, digest]));
  return read.file.processors
    .flatMap((processor, i): readonly Current[] => {
      const current = processor.current ?? (read.file.placed ? 'home' : undefined);
      if (current === undefined) return [];
      const { target, epoch, phase, since, lastBeatAge } = current === 'home' ? { ...atHome, target: processor.node } : current;
      const processorId = read.processorIds[i] as ProcessorId;
      const placement: Placement = {
        processorId,
        epoch: epoch as Epoch,
        target: targetOf(read, target),
        phase,
        reason: 'first-placement',
        since: ago(at, since),
        // As it was rendered, so as it is now; nobody knows what one was rendered from that can't be now.
        specDigest: digests.get(processorId) ?? digestText(''),
        revision: 1 as RevisionId,
      };
      if (phase === 'active') return [{ placement, stop: null }];
      const lastBeatAt = lastBeatAge === undefined ? null : ago(at, lastBeatAge);
      return [{ placement, stop: { processorId, epoch: placement.epoch, lastBeatAt, leaseUntil: null, publishedAt: placement.since, acknowledgedAt: null, confirmed: null, pods: unknown('not-configured') } }];
    })
    .sort((a, b) => byText(a.placement.processorId, b.placement.processorId));
}

const atHome = { epoch: 1, phase: 'active', since: '1h', lastBeatAge: undefined } as const;

function targetOf({ file, nodeIds, nodeIdOf }: ReadFleetFile, reference: string): Target {
  const nodeId = nodeIdOf(reference);
  if (nodeId === undefined) return { kind: 'managed' };
  return { kind: 'edge', nodeId: nodeId as NodeId, nodeName: (file.nodes[nodeIds.indexOf(nodeId)]?.name ?? '') as NodeName };
}

function policyOf({ policy: { managedPool = {}, ...spans } }: FleetFile, defaults: Policy): Policy {
  const overrides = Object.fromEntries(Object.entries(withoutUndefined(spans)).map(([name, text]) => [name, ageMs(text)]));
  return { ...defaults, ...overrides, managedPool: { ...defaults.managedPool, ...withoutUndefined(managedPool) } };
}

function withoutUndefined<T extends object>(value: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as { [Key in keyof T]?: Exclude<T[Key], undefined> };
}

function ago(at: Instant, age: string): Instant {
  return instant(at - ageMs(age));
}
