import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { Log } from '../platform/log.ts';

/**
 * How long ago the kubelets of nodes in doubt renewed their leases. Leases have no labels to choose by, and each is renewed every
 * ten seconds, so a watch of them would cost more than all the rest together; those of the few nodes that are not ready are read one
 * by one. The age is shown to people, and nothing is decided by it.
 */
export interface LeaseReader {
  /** Null: it has none, or none was read yet. */
  ageOf(node: string, now: Millis): Millis | null;
  start(): void;
  close(): Promise<void>;
}

export interface LeaseReaderOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** The nodes to ask for. */
  readonly doubtful: () => readonly string[];
}

const readEvery = seconds(5);
/** When a whole site is out, some of its leases tell as much as all of them. */
const mostAtOnce = 20;
const leaseSchema = z.object({ spec: z.object({ renewTime: z.iso.datetime({ offset: true }) }) });

interface Read {
  /** By the cluster's own clock, when it was read. */
  readonly ageMs: number;
  readonly at: Millis;
}

export function createLeaseReader(options: LeaseReaderOptions): LeaseReader {
  const closing = new AbortController();
  const ages = new Map<string, Read>();
  let done = Promise.resolve();
  return {
    ageOf: (node, now) => {
      const read = ages.get(node);
      return read === undefined ? null : millis(Math.round(Math.max(0, read.ageMs + now - read.at)));
    },
    start: () => { done = keepReading(options, ages, closing.signal); },
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

async function keepReading({ client, clock, log, doubtful }: LeaseReaderOptions, ages: Map<string, Read>, signal: AbortSignal): Promise<void> {
  // A sleep that is cut short is the end.
  while (await clock.sleep(readEvery, signal).then(() => true, () => false)) {
    const nodes = doubtful().slice(0, mostAtOnce);
    const asked = new Set(nodes);
    for (const node of [...ages.keys()]) if (!asked.has(node)) ages.delete(node);
    for (const node of nodes) {
      try {
        const { body, date } = await client.get(`/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${encodeURIComponent(node)}`, {}, { signal });
        const { spec: { renewTime } } = leaseSchema.parse(body);
        if (date !== null) ages.set(node, { ageMs: date - Date.parse(renewTime), at: clock.monotonic() });
      } catch (error) {
        if (signal.aborted) return;
        ages.delete(node);
        // No lease is an answer too.
        if (!(error instanceof Failure && error.code === 'kubernetes-missing')) log.debug({ err: error, node }, 'the lease of a node could not be read');
      }
    }
  }
}
