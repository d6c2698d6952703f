import type { Instant } from '../model/time.ts';
import { ageMs, readFleetFile, uuidOf, type ReadFleetFile } from './fleet-file-read.ts';

/** The seven tables of the running system, in an order in which their rows can be inserted. */
const tableOrder = ['processor_templates', 'processor_template_versions', 'sensors', 'edge_nodes', 'processors', 'edge_node_apps', 'edge_node_events'] as const;
type ExistingTable = (typeof tableOrder)[number];

/** A row by its columns, as JSON. */
export type ColumnValues = Readonly<Record<string, unknown>>;
/** All rows of one table have the same columns. */
export type FleetFileRows = Readonly<Record<ExistingTable, readonly ColumnValues[]>>;

/**
 * The rows that the tables would hold.
 * @param now the moment that heartbeat ages count back from; null: no heartbeat was stored yet.
 * @throws Failure `fleet-file-invalid`
 */
export function fleetFileRows(text: string, now: Instant | null): FleetFileRows {
  return toRows(readFleetFile(text), now);
}

export function toRows(read: ReadFleetFile, now: Instant | null): FleetFileRows {
  const { file, templateIds, sensorIds } = read;
  const templateId = (slug: string): string => templateIds.get(slug) ?? '';
  return {
    processor_templates: file.templates.map(({ slug, name }) => ({ id: templateId(slug), slug, name: name ?? slug })),
    processor_template_versions: file.templates
      .filter(({ version }) => version !== undefined)
      .map(({ slug, version, image, digest, runtimeConfig, buildConfig }) => ({
        id: uuidOf('version', slug),
        processor_template_id: templateId(slug),
        image_uri: image,
        digest: digest ?? null,
        version,
        runtime_config_template: runtimeConfig,
        build_config: buildConfig ?? null,
        is_active: true,
      })),
    sensors: file.sensors.map(({ name, type, connectionConfig, metadata }) => ({
      id: sensorIds.get(name) ?? '',
      sensor_type: type,
      connection_config: connectionConfig,
      metadata: metadata ?? null,
    })),
    edge_nodes: nodeRows(read, now),
    processors: processorRows(read),
    edge_node_apps: file.nodes.flatMap(({ apps }, i) =>
      apps.map(({ template, failoverEnabled, stateStoragePath }) => ({
        id: uuidOf('app', `${read.nodeIds[i] ?? ''} ${template}`),
        edge_node_id: read.nodeIds[i],
        processor_config_id: templateId(template),
        failover_enabled: failoverEnabled ?? null,
        state_storage_path: stateStoragePath ?? null,
        status: 'active',
      })),
    ),
    edge_node_events: file.nodes.map(({ name }, i) => ({
      id: uuidOf('event', read.nodeIds[i] ?? ''),
      edge_node_id: read.nodeIds[i],
      event_type: 'registered',
      details: { name },
      created_at: file.now,
    })),
  };
}

function nodeRows({ file, nodeIds, nodeIdOf }: ReadFleetFile, now: Instant | null): readonly ColumnValues[] {
  return file.nodes.map((node, i) => ({
    id: nodeIds[i],
    organization_id: node.organization === undefined ? null : uuidOf('organization', node.organization),
    name: node.name,
    status: node.decommissioned ? 'decommissioned' : 'online',
    failover_enabled: node.failoverEnabled,
    failover_target_node_id: node.failoverTarget === undefined ? null : (nodeIdOf(node.failoverTarget) ?? null),
    last_heartbeat_at: now === null || node.heartbeatAge === 'never' ? null : new Date(now - ageMs(node.heartbeatAge)).toISOString(),
  }));
}

function processorRows({ file, processorIds, templateIds, sensorIds, nodeIdOf }: ReadFleetFile): readonly ColumnValues[] {
  return file.processors.map(({ template, node, sensor, namespace }, i) => ({
    id: processorIds[i],
    processor_template_id: templateIds.get(template),
    node_type: node === 'managed' ? 'managed' : 'edge',
    node_id: nodeIdOf(node) ?? null,
    k8s_namespace: namespace ?? null,
    sensor_id: sensor === undefined ? null : sensorIds.get(sensor),
    status: 'pending',
  }));
}

export interface Statement {
  readonly text: string;
  readonly values: readonly [string];
}

/** One INSERT for each table that has rows; to be run in order, in one transaction. */
export function insertStatements(rows: FleetFileRows): readonly Statement[] {
  return tableOrder.flatMap((table) => {
    const [first] = rows[table];
    if (first === undefined) return [];
    const columns = Object.keys(first).join(', ');
    return [{ text: `insert into ${table} (${columns}) select ${columns} from json_populate_recordset(null::${table}, $1::json)`, values: [JSON.stringify(rows[table])] }];
  });
}
