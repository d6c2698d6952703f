/** Exit codes, the same for every command. Where several apply, the lowest that is not 0 counts. */
export const exitCodes = {
  ok: 0,
  error: 1,
  /** `plan`: there are changes. */
  changes: 2,
  /** Rows in quarantine. */
  quarantine: 3,
  /** Something is held until a person acts, or waits for an approval. */
  held: 4,
  notLeader: 5,
  /** Ctrl-C, or SIGTERM, while an answer was waited for: as shells say it. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export function firstOf(codes: readonly ExitCode[]): ExitCode {
  return codes.filter((code) => code !== exitCodes.ok).sort((a, b) => a - b)[0] ?? exitCodes.ok;
}

/** Of a plan, or of what is told of one. */
interface LeftOver {
  readonly quarantined: readonly unknown[];
  readonly refusals: readonly unknown[];
  readonly holds: readonly { readonly needsPerson: boolean }[];
}

/** What a plan leaves to a person: rows to mend, holds to resolve. */
export function leftToPeople({ quarantined, refusals, holds }: LeftOver): ExitCode {
  const held = refusals.length > 0 || holds.some(({ needsPerson }) => needsPerson);
  return firstOf([quarantined.length > 0 ? exitCodes.quarantine : exitCodes.ok, held ? exitCodes.held : exitCodes.ok]);
}

/** For `--help` and the README: one line each. */
export const exitCodeHelp = `Exit codes: 0 ok, 1 error, 2 there are changes (plan), 3 rows in quarantine,
  4 held or waiting for approval, 5 not the leader; the lowest that applies.`;
