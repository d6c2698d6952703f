import type { Policy } from '../model/snapshot.ts';
import type { ObserveSettings } from '../observe/database.ts';
import type { Settings } from '../platform/settings-schema.ts';

/** The thresholds of `plan`, from the settings. */
function policyOf({ failover, managedPool }: Settings): Policy {
  return { ...failover, managedPool };
}

export function observeSettings(settings: Settings): ObserveSettings {
  return { policy: policyOf(settings), defaultNamespace: settings.namespace, receiver: settings.heartbeats.receiver };
}
