import type { Fleet } from '../model/fleet.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { createKubeCache } from '../platform/kube/watch.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import { createExecutor } from './execute.ts';
import { markerOf, ourLabel, readSecret } from './secrets-live.ts';
import { createLooks, type Lead, type LooksOptions } from './secrets-looks.ts';
import type { CredentialSource } from './secrets-marks.ts';
import { createPass } from './secrets-pass.ts';
import type { TellerOptions } from './secrets-tell.ts';

/**
 * Keeps the Secrets of the cluster as the database has them: looks when the fleet, the rows that credentials come from, or the
 * Secrets themselves changed; with nothing to do, it sends no request and asks nobody. Values are in memory only while they are
 * compared, row by row, and while they are sent.
 */
export interface SecretsKeeper {
  /** Begins to watch. */
  start(): void;
  /** Resolves with true as soon as everything was listed once, or with false when `limit` is over. */
  synced(limit: Millis): Promise<boolean>;
  /**
   * Before the manifests that refer to them: waits for the Secrets, but not for long, since a failover must not. What fails is told, and
   * tried again at a later call.
   * @param mark changes whenever rows do that credentials come from
   * @returns whether manifests have to show other versions now
   * @throws no Failure
   */
  keep(fleet: Fleet, mark: string, lead: Lead): Promise<boolean>;
  close(): Promise<void>;
}

/** `onChange`: a Secret came, changed or went, or a look that took long is over. */
export interface SecretsKeeperOptions extends CredentialSource, TellerOptions, LooksOptions {
  readonly client: KubeClient;
  readonly writer: KubeWriter;
}

/** Secrets come before the manifests that refer to them: 1,000 take a second or two. */
const patience = seconds(3);
/** The watch gives a sign of life so often. */
const signEvery = seconds(6);
/** A list takes some 10 ms. */
const syncPoll = millis(20);

export function createSecretsKeeper(options: SecretsKeeperOptions): SecretsKeeper {
  const { client, writer, clock, random, log, onChange } = options;
  const mark = markerOf(random);
  const cache = createKubeCache({
    client, clock, random, log, signEvery,
    path: '/api/v1/secrets',
    labelSelector: `${ourLabel.key}=${ourLabel.value}`,
    metadataOnly: false,
    read: (object) => readSecret(object, mark),
    onChange: () => {
      looks.stir();
      onChange();
    },
    onState: onChange,
  });
  const looks = createLooks(options, createPass({ ...options, mark, live: cache.items, executor: createExecutor({ writer, clock, random }) }), patience);
  return {
    start: () => { cache.start(); },
    synced: async (limit) => {
      const end = clock.monotonic() + limit;
      while (cache.aliveAt() === null) {
        if (clock.monotonic() >= end) return false;
        await clock.sleep(syncPoll);
      }
      return true;
    },
    keep: async (fleet, rows, lead) => (cache.aliveAt() === null ? false : looks.look(fleet, rows, lead)),
    close: async () => {
      await cache.close();
      await looks.settled();
      client.close();
    },
  };
}
