import type { Policy, PolicyOverride } from '../model/snapshot.ts';
import type { ObserveSettings } from '../observe/database.ts';
import type { Settings } from '../platform/settings-schema.ts';

/** The thresholds of `plan`, from the settings. */
function policyOf({ failover, guard, budget, managedPool }: Settings): Policy {
  const { onFailure, failback, failbackWindow, targets, writerAlive, unfenced, stateLoss, ...thresholds } = failover;
  const processors = { onFailure, failback, failbackWindow, targets, writerAlive, unfenced, stateLoss, priority: 0 };
  return { ...thresholds, guard, budget, processors, managedPool };
}

function overridesOf({ policies }: Settings): readonly PolicyOverride[] {
  return policies.map(({ match, ...fields }) => ({
    match,
    policy: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)),
  }));
}

export function observeSettings(settings: Settings): ObserveSettings {
  return { policy: policyOf(settings), policies: overridesOf(settings), defaultNamespace: settings.namespace, receiver: settings.heartbeats.receiver, siteColumn: settings.sites.column };
}
