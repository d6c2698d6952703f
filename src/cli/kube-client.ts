import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient, type KubeClient } from '../platform/kube/client.ts';
import type { Runtime } from './runtime.ts';

/** Lends a client for questions that one command or one request asks; null without a cluster. */
export async function withKube<T>({ kubernetes }: Pick<Runtime, 'kubernetes'>, use: (client: KubeClient | null) => Promise<T>): Promise<T> {
  if (kubernetes === null) return use(null);
  const client = createKubeClient(createAccess(kubernetes));
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
