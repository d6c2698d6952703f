/**
 * Rows of the operator's tables as text, before anything is believed of them: from the database or from a fleet file.
 * The types of the columns were checked (`catalog.ts`), their contents were not.
 */
interface Row {
  /** Changes whenever the row does; empty where nobody compares. It may stem from credentials: never write or show it. */
  readonly hash: string;
}

/** Rows of the desired set only: not terminated, not failed. */
export interface ProcessorRow extends Row {
  readonly id: string;
  readonly templateId: string | null;
  readonly nodeType: string | null;
  readonly nodeId: string | null;
  readonly namespace: string | null;
  readonly sensorId: string | null;
}

export interface TemplateRow extends Row {
  readonly id: string;
  readonly slug: string | null;
  readonly name: string | null;
}

/** Active versions only. */
export interface VersionRow extends Row {
  readonly templateId: string | null;
  readonly imageUri: string | null;
  readonly digest: string | null;
  readonly version: string | null;
  /** JSON. */
  readonly runtimeConfig: string | null;
  /** JSON. */
  readonly buildConfig: string | null;
}

export interface SensorRow extends Row {
  readonly id: string;
  readonly type: string | null;
  /** JSON. */
  readonly connectionConfig: string | null;
}

export interface NodeRow extends Row {
  readonly id: string;
  readonly organizationId: string | null;
  readonly name: string | null;
  readonly decommissioned: boolean;
  readonly failoverEnabled: boolean;
  readonly failoverTarget: string | null;
  readonly architecture: string | null;
  readonly gpu: boolean | null;
  readonly site: string | null;
}

export interface SwitchRow extends Row {
  readonly nodeId: string;
  readonly templateId: string;
  readonly failoverEnabled: boolean;
}

export interface Tables {
  readonly processors: readonly ProcessorRow[];
  readonly templates: readonly TemplateRow[];
  readonly versions: readonly VersionRow[];
  readonly sensors: readonly SensorRow[];
  readonly nodes: readonly NodeRow[];
  readonly switches: readonly SwitchRow[];
}
