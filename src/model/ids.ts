/** Identifiers, branded so that one kind can't be passed for another. They are parsed once, in `observe`. */

declare const brand: unique symbol;
export type Brand<Value, Name extends string> = Value & { readonly [brand]: Name };

/** `processors.id`, a lower-case uuid. */
export type ProcessorId = Brand<string, 'ProcessorId'>;
/** `edge_nodes.id`, a lower-case uuid. */
export type NodeId = Brand<string, 'NodeId'>;
/** `edge_nodes.name`: the Kubernetes Node's `metadata.name`; unique within an organisation only. */
export type NodeName = Brand<string, 'NodeName'>;
/** `edge_nodes.organization_id`. */
export type OrganizationId = Brand<string, 'OrganizationId'>;
/** `processor_templates.id`. */
export type TemplateId = Brand<string, 'TemplateId'>;
/** `sensors.id`. */
export type SensorId = Brand<string, 'SensorId'>;
/** Hex SHA-256 of a canonical JSON text; see `platform/digest.ts`. */
export type Digest = Brand<string, 'Digest'>;
/** A positive, gapless-enough number of a change set: `dory.revisions.id`. */
export type RevisionId = Brand<number, 'RevisionId'>;
/** A per-processor fencing number: 1, 2, …; only ever rises. */
export type Epoch = Brand<number, 'Epoch'>;

/** A uuid, in whichever case it was written. */
export const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Orders identifiers by code unit, so that every machine and every locale agrees. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
