import type { TestProject } from 'vitest/node';
import type { ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';
import { controlPlanePrograms } from './control-plane-build.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The programs of a control plane, or why there are none. */
    controlPlane: ControlPlanePrograms | string;
  }
}

/** Before the cluster tests: finds or builds the programs of a control plane, or says why those tests are skipped. */
export default async function setup(project: TestProject): Promise<void> {
  const tell = (text: string): void => { process.stderr.write(`${text}\n`); };
  const programs = await controlPlanePrograms(process.env, tell);
  if (typeof programs === 'string') tell(`Cluster tests are skipped: ${programs}.`);
  project.provide('controlPlane', programs);
}
