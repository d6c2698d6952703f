import type { k8s } from 'cdk8s-plus-30';
import type { EnvVar } from '../../src/model/fleet.ts';
import type { ProcessorProps } from '../processor.ts';

/** What the SDK reads, and what Dory adds. First in the list, so that a template's values may refer to them: `$(NODE_NAME)`. */
const identity = {
  PROCESSOR_ID: ({ processorId }) => ({ value: processorId }),
  DORY_PROCESSOR_ID: ({ processorId }) => ({ value: processorId }),
  DORY_APP_NAME: ({ workload }) => ({ value: workload.slug }),
  DORY_WORKLOAD_LOCATION: ({ target }) => ({ value: target.kind }),
  DORY_PLACEMENT_EPOCH: ({ epoch }) => ({ value: epoch }),
  DORY_POD_NAME: () => fromField('metadata.name'),
  POD_NAME: () => fromField('metadata.name'),
  POD_NAMESPACE: () => fromField('metadata.namespace'),
  POD_IP: () => fromField('status.podIP'),
  NODE_NAME: () => fromField('spec.nodeName'),
} as const satisfies Record<string, (props: ProcessorProps) => Omit<k8s.EnvVar, 'name'>>;

const orchestratorUrlName = 'DORY_ORCHESTRATOR_URL';

/**
 * The container's environment: who it is, then the template's variables, then the sensor's. No name comes twice: what says
 * who the pod is can't be overridden, and a sensor's own setting is more exact than its template's.
 */
export function environment(props: ProcessorProps): k8s.EnvVar[] {
  const sensor = ownSensorEnv(props.sensorEnv);
  const taken = new Set(sensor.map(({ name }) => name));
  return [
    ...Object.entries(identity).map(([name, source]) => ({ name, ...source(props) })),
    ...inheritedEnv(props).filter(({ name }) => !taken.has(name)).map((variable) => envVar(variable, (value) => value)),
    ...sensor.map((variable) => envVar(variable, literal)),
  ];
}

/** Variables that a sensor may override, in their order: the orchestrator's address and the template's own. */
export function inheritedEnv({ workload, orchestratorUrl }: Pick<ProcessorProps, 'workload' | 'orchestratorUrl'>): readonly EnvVar[] {
  const own = workload.env.filter(({ name }) => !Object.hasOwn(identity, name));
  if (orchestratorUrl === null || own.some(({ name }) => name === orchestratorUrlName)) return own;
  return [{ name: orchestratorUrlName, value: orchestratorUrl }, ...own];
}

/** The sensor's variables that are rendered: those that don't claim to be somebody else. */
export function ownSensorEnv(sensorEnv: readonly EnvVar[]): readonly EnvVar[] {
  return sensorEnv.filter(({ name }) => !Object.hasOwn(identity, name));
}

/** Kubernetes expands `$(NAME)` and reads `$$` as `$`. A sensor's settings are data: they arrive as they are. */
export function literal(value: string): string {
  return value.includes('$') ? value.replace(/\$(?=[$(])/g, '$$$$') : value;
}

function envVar(variable: EnvVar, print: (value: string) => string): k8s.EnvVar {
  if ('value' in variable) return { name: variable.name, value: print(variable.value) };
  const { name, key } = variable.secret;
  return { name: variable.name, valueFrom: { secretKeyRef: { name, key } } };
}

function fromField(fieldPath: string): Omit<k8s.EnvVar, 'name'> {
  return { valueFrom: { fieldRef: { fieldPath } } };
}
