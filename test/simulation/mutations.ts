/**
 * Bugs that the simulation must find: each is a place in the models, or a lie told to `plan`, that breaks one rule of the
 * design. `README.md` has what each of them stands for, and `mutations.test.ts` that it is caught.
 */
export const mutations = [
  'lease-ignored',
  'lease-not-recorded',
  'pods-said-gone',
  'git-not-asked',
  'old-acknowledgement-counts',
  'coverage-ignored',
  'connection-kept',
  'watch-age-ignored',
  'returning-is-healthy',
  'never-reported-is-silent',
  'freshest-dropped',
  'leader-not-asserted',
  'push-without-compare',
  'push-of-own-changes-only',
  'marked-before-pushed',
  'epoch-not-raised',
  'retired-epoch-forgotten',
  'retired-target-forgotten',
  'beats-count-for-home',
  'stale-sender-leased',
  'pause-ignored',
  'lock-ignored',
  'guard-ignored',
  'idle-cycle-writes',
] as const;

/** Those that a world with a cutover shows. */
export const cutoverMutations = ['foreign-ignored', 'renamed-ignored', 'leftovers-forced', 'taken-before-gone', 'stopped-without-proof', 'power-off-proves-at-once'] as const;

/** The last ones take so much bad luck that only stories of their own show them: `scenarios/`. */
export type Mutation = (typeof mutations)[number] | (typeof cutoverMutations)[number] | 'scaled-by-any-revision' | 'power-off-ends-at-once';
