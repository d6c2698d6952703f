import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';
import { startControlPlane as start, type ControlPlane as Started, type ControlPlaneOptions, type Json } from '../../src/cli/demo/control-plane.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { temporaryFolder } from './temp.ts';

export type { Json };

const execute = promisify(execFile);

export interface ControlPlane extends Omit<Started, 'etcd'> {
  /** The folder of this control plane, removed with it. */
  readonly folder: string;
  kubectl(...args: string[]): Promise<string>;
  /** Forgets all history: who asks for it is answered 410 once the server's own memory is gone too. */
  compact(): Promise<void>;
}

/** A control plane in a folder of its own. */
export async function startControlPlane({ programs, with: parts = [] }: { readonly programs: ControlPlanePrograms } & Pick<ControlPlaneOptions, 'with'>): Promise<ControlPlane> {
  const temporary = await temporaryFolder();
  const folder = temporary.path;
  try {
    const { etcd, stop, ...started } = await start({ programs, folder, with: parts, clock: systemClock, random: systemRandom });
    return {
      ...started,
      folder,
      kubectl: async (...args) => (await execute(programs.kubectl, ['--kubeconfig', started.kubeconfig, '--cache-dir', join(folder, 'kubectl'), ...args], { maxBuffer: 1e8 })).stdout,
      compact: () => compact(etcd),
      stop: async () => {
        await stop();
        await temporary.remove();
      },
    };
  } catch (error) {
    await temporary.remove();
    throw error;
  }
}

/** Through etcd's JSON gateway. */
async function compact(etcd: string): Promise<void> {
  const ask = async (path: string, body: Json): Promise<Json> => {
    const response = await fetch(`${etcd}/v3/${path}`, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`etcd: ${String(response.status)} ${await response.text()}`);
    return (await response.json()) as Json;
  };
  const { header } = (await ask('kv/range', { key: 'AA==' })) as { readonly header: { readonly revision: string } };
  await ask('kv/compaction', { revision: header.revision, physical: true });
}
