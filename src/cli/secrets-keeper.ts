import { createSecretsKeeper, type SecretsKeeper } from '../apply/secrets-keeper.ts';
import { createRotationsKeeper } from '../apply/secrets-rotations.ts';
import type { TellerOptions } from '../apply/secrets-tell.ts';
import { readCredentialRows, readCredentials } from '../observe/credentials.ts';
import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Runtime } from './runtime.ts';

export interface SecretsKeeperUse {
  /** Null: one cycle is all there will be. */
  readonly onChange: (() => void) | null;
  readonly metrics: TellerOptions['metrics'];
}

/**
 * Keeps the cluster's Secrets, whoever applies the manifests; where somebody else writes them, sees to it that pods restart with replaced
 * credentials. To be started and closed. Null for a single cycle that writes none.
 */
export function openSecretsKeeper({ kubernetes, settings, pool, clock, random, log }: Runtime, { onChange, metrics }: SecretsKeeperUse): SecretsKeeper | null {
  const common = {
    credentials: (names: readonly string[] | null) => readCredentials(pool, names),
    credentialRows: () => readCredentialRows(pool),
    pool, clock, random, log, metrics,
    onChange: onChange ?? (() => undefined),
  };
  const access = kubernetes === null ? null : createAccess(kubernetes);
  if (access !== null && settings.writeSecrets) return createSecretsKeeper({ ...common, client: createKubeClient(access), writer: createKubeWriter(access) });
  // What was replaced is known from what was there before: a single cycle has seen nothing before.
  if (onChange === null) {
    access?.close();
    return null;
  }
  return createRotationsKeeper({ ...common, client: access === null ? null : createKubeClient(access) });
}
