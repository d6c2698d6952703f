import { formatMillis, millis } from '../model/time.ts';
import type { Status } from '../operator/status-view.ts';
import { printable } from './output.ts';

const span = (ms: number): string => formatMillis(millis(ms));
/** Enough to see what is wrong; `-o json` has more. */
const shown = 20;

export function appliedLine({ applied }: Pick<Status, 'applied'>): string[] {
  if (applied === null) return [];
  const { revision, commit, at, differing } = applied;
  const last = revision === null ? 'nothing seen through yet' : `revision ${String(revision)}, ${commit?.slice(0, 12) ?? '?'} at ${at ?? '?'}`;
  return [`Applied     ${last}${differing > 0 ? `; ${String(differing)} objects are not as committed` : ''}`];
}

/** From the commit to the cluster. */
export function liveLine({ commits }: Pick<Status, 'commits'>): string[] {
  const seen = commits.flatMap(({ revision, state, liveMs }) => (state === 'unknown' || liveMs === null ? [] : [`${String(revision)} ${state === 'live' ? 'after' : 'under way for'} ${span(liveMs)}`]));
  return seen.length === 0 ? [] : [`Live        revision ${seen.join(', ')}`];
}

/** What differs, and who changed what and when. */
export function appliedLines({ applied }: Pick<Status, 'applied'>): string[] {
  if (applied === null) return [];
  const problems = applied.problems.slice(0, shown).flatMap(({ object, reason, ageMs, detail, mend }) => [
    `  ${printable(`${object}: ${reason} for ${span(ageMs)}: ${detail}`)}`,
    ...(mend === null ? [] : [`    ${mend}`]),
  ]);
  const drift = applied.drift.slice(0, shown).map(({ object, ageMs, why }) => `  ${printable(`${span(ageMs)} ago ${object}: ${why}`)}`);
  return [
    ...(problems.length === 0 ? [] : [`Not as committed (${String(applied.differing)})`, ...problems, '']),
    ...(drift.length === 0 ? [] : ['Changed by others within a day', ...drift, '']),
  ];
}
