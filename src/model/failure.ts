/**
 * Operating failures: things that go wrong outside of this program. Each has a code, what may be done about it, and a
 * sentence for the person. Expected outcomes are values, and bugs crash: neither is a `Failure`.
 */
const failureCodes = {
  'settings-invalid': 'never',
  'fleet-file-invalid': 'never',
  'database-unreachable': 'backoff',
  'database-refused': 'never',
  'database-conflict': 'now',
  'database-behind': 'never',
  'schema-missing': 'never',
  'schema-newer': 'never',
  'schema-incompatible': 'never',
  'embedded-postgres-failed': 'never',
  'not-leader': 'backoff',
  'kubernetes-unreachable': 'backoff',
  'kubernetes-refused': 'backoff',
  'kubernetes-missing': 'never',
  'kubernetes-expired': 'now',
  'argocd-unreachable': 'backoff',
  'argocd-refused': 'never',
  'git-missing': 'never',
  'git-unreachable': 'backoff',
  'git-refused': 'never',
  'git-rejected': 'now',
  'git-diverged': 'now',
  'git-foreign-folder': 'never',
  'git-held': 'never',
  'git-corrupt': 'never',
  'render-invalid': 'never',
  'verify-differs': 'never',
  'address-in-use': 'never',
  'not-found': 'never',
  'invalid-input': 'never',
  'conflict': 'never',
  'locked': 'never',
  'unauthorized': 'never',
  'forbidden': 'never',
  'server-unreachable': 'backoff',
  'server-refused': 'never',
  'demo-stuck': 'never',
} as const satisfies Record<string, Retry>;

/** `now`: observe and try again at once, a bounded number of times. `backoff`: later. `never`: a person must act. */
export type Retry = 'now' | 'backoff' | 'never';
export type FailureCode = keyof typeof failureCodes;

export function isFailureCode(code: unknown): code is FailureCode {
  return typeof code === 'string' && Object.hasOwn(failureCodes, code);
}

/** What is wrong with one value of a person's. */
export interface InputProblem {
  /** As the person wrote it: `for`, `targets.0`. */
  readonly field: string;
  /** What stands there, as JSON, at most 80 characters. */
  readonly value: string;
  readonly mend: string;
}

interface FailureOptions {
  readonly mend?: string;
  readonly cause?: unknown;
  /** With `invalid-input`. */
  readonly problems?: readonly InputProblem[];
}

export class Failure extends Error {
  override readonly name = 'Failure';
  readonly code: FailureCode;
  readonly retry: Retry;
  /** A sentence that says what to do; empty if `message` says it all. */
  readonly mend: string;
  readonly problems: readonly InputProblem[];

  constructor(code: FailureCode, message: string, options: FailureOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {});
    this.code = code;
    this.retry = failureCodes[code];
    this.mend = options.mend ?? '';
    this.problems = options.problems ?? [];
  }
}

/** @param shown the newest revision that Git shows; @param known the newest that the database knows */
export function databaseBehind(shown: number, known: number): Failure {
  return new Failure('database-behind', `Git shows revision ${String(shown)}, the database knows ${String(known)}: it was restored from a backup, or it is another one.`, {
    mend: 'Nothing is decided or written. `dory repair epochs --dry-run` shows what Git has and the database lacks, `dory repair epochs` adopts it.',
  });
}
