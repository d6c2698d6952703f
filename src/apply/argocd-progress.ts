import { millis, type Millis } from '../model/time.ts';
import { concerned, type ApplicationState } from './argocd-applications.ts';
import type { CommitOrder } from './argocd-commits.ts';
import type { Push } from './argocd.ts';

/** How long commits take until Argo CD has brought them to the cluster. In memory: a restart loses a measurement, and nothing else. */
export interface Progress {
  pushed(push: Push, applications: Iterable<ApplicationState>, at: Millis): void;
  /** How long each of the commits took that this change completes. */
  seen(application: ApplicationState, at: Millis): readonly Millis[];
}

interface Waiting {
  readonly commit: string;
  readonly pushedAt: Millis;
  /** Applications that are concerned and don't have it yet. */
  readonly left: Set<string>;
}

/** Commits that Argo CD never gets to are many where it is down. */
const mostWaiting = 100;

export function createProgress({ holds }: Pick<CommitOrder, 'holds'>): Progress {
  const waiting: Waiting[] = [];
  return {
    pushed: ({ commit, paths }, applications, at) => {
      const left = new Set(concerned(applications, paths));
      if (left.size === 0) return;
      waiting.push({ commit, pushedAt: at, left });
      if (waiting.length > mostWaiting) waiting.shift();
    },
    seen: (application, at) => {
      const commit = arrived(application);
      for (const { commit: wanted, left } of waiting) if (holds(commit, wanted)) left.delete(application.name);
      const done = waiting.filter(({ left }) => left.size === 0);
      for (const each of done) waiting.splice(waiting.indexOf(each), 1);
      return done.map(({ pushedAt }) => millis(at - pushedAt));
    },
  };
}

/** The newest commit of which everything in this folder is on the cluster. */
function arrived({ sync, commit, operation }: ApplicationState): string | null {
  if (sync === 'Synced') return commit;
  return operation?.phase === 'Succeeded' ? operation.commit : null;
}
