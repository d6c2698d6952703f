import { k8s } from 'cdk8s-plus-30';
import type { Probes, Resources, SecurityContext } from '../../src/model/fleet.ts';
import type { ProcessorProps } from '../processor.ts';
import { environment } from './env.ts';
import { volumeMounts } from './volumes.ts';

export function container(props: ProcessorProps): k8s.Container {
  const { workload } = props;
  const { command, args, probes } = workload;
  const mounts = volumeMounts(workload);
  return {
    name: 'processor',
    image: workload.image,
    imagePullPolicy: workload.imagePullPolicy,
    ...(command.length > 0 ? { command: [...command] } : {}),
    ...(args.length > 0 ? { args: [...args] } : {}),
    ports: [{ name: 'http', containerPort: workload.port }],
    env: environment(props),
    resources: resources(workload.resources),
    livenessProbe: probe(probes, probes.livenessPath),
    readinessProbe: probe(probes, probes.readinessPath),
    securityContext: securityContext(workload.security),
    ...(mounts.length > 0 ? { volumeMounts: mounts } : {}),
  };
}

function resources({ cpuRequest, memoryRequest, cpuLimit, memoryLimit, gpuLimit }: Resources): k8s.ResourceRequirements {
  const quantity = (text: string): k8s.Quantity => k8s.Quantity.fromString(text);
  return {
    requests: { cpu: quantity(cpuRequest), memory: quantity(memoryRequest) },
    limits: {
      cpu: quantity(cpuLimit),
      memory: quantity(memoryLimit),
      // A device is requested by its limit; Kubernetes copies it.
      ...(gpuLimit === null ? {} : { 'nvidia.com/gpu': quantity(gpuLimit) }),
    },
  };
}

function probe({ port, initialDelaySec, periodSec, timeoutSec, failureThreshold }: Probes, path: string): k8s.Probe {
  return {
    httpGet: { path, port: k8s.IntOrString.fromNumber(port) },
    initialDelaySeconds: initialDelaySec,
    periodSeconds: periodSec,
    timeoutSeconds: timeoutSec,
    failureThreshold,
  };
}

/** The restricted profile but for what the template relaxes; what Kubernetes would refuse as a contradiction follows from it. */
function securityContext({ privileged, allowPrivilegeEscalation, readOnlyRootFilesystem, addCapabilities }: SecurityContext): k8s.SecurityContext {
  const impliesEscalation = privileged || addCapabilities.includes('SYS_ADMIN');
  return {
    allowPrivilegeEscalation: allowPrivilegeEscalation || impliesEscalation,
    ...(privileged ? { privileged } : {}),
    readOnlyRootFilesystem,
    capabilities: { drop: ['ALL'], ...(addCapabilities.length > 0 ? { add: [...addCapabilities] } : {}) },
  };
}
