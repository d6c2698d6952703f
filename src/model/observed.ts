import type { Instant } from './time.ts';

/** A fact from outside: known, with the moment it speaks of, or unknown with the reason. */
export type Observed<T> =
  | { readonly known: true; readonly value: T; readonly at: Instant }
  | { readonly known: false; readonly because: UnknownBecause };

/** `not-in-cluster`: Kubernetes knows no such node. `watch-down`: the cluster's answers are missing or too old. */
export type UnknownBecause = 'never-reported' | 'intake-down' | 'not-configured' | 'not-in-cluster' | 'watch-down';

export const known = <T>(value: T, at: Instant): Observed<T> => ({ known: true, value, at });
export const unknown = (because: UnknownBecause): Observed<never> => ({ known: false, because });
