/** Which commits of the branch are older than which, as far as we pushed them or met them before a push of ours. */
export interface CommitOrder {
  /** `older`: what the branch and Argo CD showed before it. */
  readonly pushed: (commit: string, older: Iterable<string | null>) => void;
  /** Whether who shows `shown` has `commit`: it is that one or a newer one. */
  readonly holds: (shown: string | null, commit: string) => boolean;
}

/** More than can be under way at once. */
const mostKnown = 200;

export function createCommitOrder(): CommitOrder {
  const places = new Map<string, number>();
  let next = 0;
  return {
    pushed: (commit, older) => {
      for (const each of older) if (each !== null && each !== commit && !places.has(each)) places.set(each, (next += 1));
      // To the end, also where Argo CD was faster than we and showed it to an earlier push.
      places.delete(commit);
      places.set(commit, (next += 1));
      for (const each of [...places.keys()].slice(0, -mostKnown)) places.delete(each);
    },
    holds: (shown, commit) => {
      if (shown === null) return false;
      const [place, wanted] = [places.get(shown), places.get(commit)];
      // One that we never heard of is somebody's newer one.
      return shown === commit || place === undefined || (wanted !== undefined && place > wanted);
    },
  };
}
