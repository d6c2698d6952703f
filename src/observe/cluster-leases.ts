import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { millis, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { Log } from '../platform/log.ts';
import { createClusterPoll, type ClusterPoll } from './cluster-poll.ts';

/**
 * How long ago the kubelets of nodes in doubt renewed their leases. Leases have no labels to choose by, and each is renewed every
 * ten seconds, so a watch of them would cost more than all the rest together; those of the few nodes that are not ready are read one
 * by one. The age is shown to people, and nothing is decided by it.
 */
export interface LeaseReader extends ClusterPoll {
  /** Null: it has none, or none was read yet. */
  ageOf(node: string, now: Millis): Millis | null;
}

export interface LeaseReaderOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** The nodes to ask for. */
  readonly doubtful: () => readonly string[];
}

/** When a whole site is out, some of its leases tell as much as all of them. */
const mostAtOnce = 20;
const leaseSchema = z.object({ spec: z.object({ renewTime: z.iso.datetime({ offset: true }) }) });

interface Read {
  /** By the cluster's own clock, when it was read. */
  readonly ageMs: number;
  readonly at: Millis;
}

export function createLeaseReader({ client, clock, log, doubtful }: LeaseReaderOptions): LeaseReader {
  const ages = new Map<string, Read>();
  const poll = createClusterPoll({
    clock, log, what: 'the lease of a node',
    subjects: () => {
      const nodes = doubtful().slice(0, mostAtOnce);
      const asked = new Set(nodes);
      for (const node of [...ages.keys()]) if (!asked.has(node)) ages.delete(node);
      return nodes;
    },
    read: async (node, signal) => {
      const answer = await client.get(`/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${encodeURIComponent(node)}`, {}, { signal }).catch((error: unknown) => {
        ages.delete(node);
        return missing(error);
      });
      if (typeof answer?.date !== 'number') return;
      const { spec: { renewTime } } = leaseSchema.parse(answer.body);
      ages.set(node, { ageMs: answer.date - Date.parse(renewTime), at: clock.monotonic() });
    },
  });
  return {
    ...poll,
    ageOf: (node, now) => {
      const read = ages.get(node);
      return read === undefined ? null : millis(Math.round(Math.max(0, read.ageMs + now - read.at)));
    },
  };
}

/** No lease is an answer too. */
function missing(error: unknown): null {
  if (error instanceof Failure && error.code === 'kubernetes-missing') return null;
  throw error;
}
