import { createSecretsKeeper, type SecretsKeeper } from '../apply/secrets-keeper.ts';
import { readCredentials } from '../observe/credentials.ts';
import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Runtime } from './runtime.ts';

/** Keeps the cluster's Secrets, whoever applies the manifests; to be started and closed. Null without a cluster, or where somebody else does it. */
export function openSecretsKeeper(runtime: Runtime, onChange: () => void): SecretsKeeper | null {
  const { kubernetes, settings, pool, clock, random, log } = runtime;
  if (kubernetes === null || !settings.writeSecrets) return null;
  const access = createAccess(kubernetes);
  return createSecretsKeeper({
    client: createKubeClient(access),
    writer: createKubeWriter(access),
    credentials: (names) => readCredentials(pool, names),
    pool, clock, random, log, onChange,
  });
}
