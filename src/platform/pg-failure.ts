import { Failure, type FailureCode } from '../model/failure.ts';

interface Verdict {
  readonly code: FailureCode;
  readonly mend: string;
}

const unreachable: Verdict = { code: 'database-unreachable', mend: 'Check that the server runs and that the URL names its host and port.' };
const busy: Verdict = { code: 'database-unreachable', mend: '' };
const standby: Verdict = { code: 'database-unreachable', mend: 'The server is a standby: name the primary in the URL, or wait until one has taken over at this address.' };
const refused: Verdict = { code: 'database-refused', mend: "Check the role, its password and its privileges, the database's name and sslmode in the URL." };
const conflict: Verdict = { code: 'database-conflict', mend: '' };

/** By SQLSTATE, then by its class (the first two characters). What is in neither is a bug and stays as it is. */
const bySqlState: Readonly<Record<string, Verdict>> = {
  '40001': conflict, // serialization_failure
  '40P01': conflict, // deadlock_detected
  '08': unreachable,
  '57P01': busy, // admin_shutdown
  '57P02': busy, // crash_shutdown
  '57P03': busy, // cannot_connect_now
  '57014': busy, // query_canceled: the statement timeout
  '55P03': busy, // lock_not_available
  '25P03': busy, // idle_in_transaction_session_timeout
  '25006': standby, // read_only_sql_transaction
  '53': busy, // insufficient resources: connections, disk, memory
  '58': busy, // system errors outside of PostgreSQL
  '28': refused,
  '3D000': refused, // invalid_catalog_name
  '42501': refused, // insufficient_privilege
  '42P01': { code: 'schema-missing', mend: 'Run `dory migrate`.' }, // undefined_table
  '3F000': { code: 'schema-missing', mend: 'Run `dory migrate`.' }, // invalid_schema_name
  '42703': { code: 'schema-incompatible', mend: 'Compare the table with the schema in the documentation.' }, // undefined_column
};

/** A socket of this machine that is not there, or not ours. */
const bySocketErrno: Readonly<Record<string, Verdict>> = { ENOENT: unreachable, EACCES: refused };

const byErrno: Readonly<Record<string, Verdict>> = {
  ...Object.fromEntries(
    ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'EHOSTDOWN', 'ENETUNREACH', 'ENETDOWN', 'ENOTFOUND', 'EAI_AGAIN'].map(
      (errno) => [errno, unreachable],
    ),
  ),
  ...Object.fromEntries(
    ['SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID'].map(
      (errno) => [errno, refused],
    ),
  ),
};

/** What the driver says without a code, by how its sentence begins. */
const byMessage: readonly (readonly [RegExp, Verdict])[] = [
  [/^Connection terminated|^timeout exceeded when trying to connect|^Client has encountered a connection error|^Client was closed|^Query read timeout/, unreachable],
  [/^SASL: |^The server does not support SSL connections/, refused],
];

/**
 * What an error of the driver means for us. Failures come back as they are, and so does what isn't an operating failure: a
 * violated constraint or a syntax error is a bug. No message holds a password: the server and the driver never send one back.
 */
export function databaseFailure(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof Failure) return error;
  const verdict = judge(error);
  if (verdict === undefined) return error;
  return new Failure(verdict.code, `The database says: ${sentence(error)}`, { mend: verdict.mend, cause: error });
}

/**
 * Whether a connection is no good after this error of a query on it: the query may still run, or the server is a standby by
 * now, while new connections may find its successor.
 */
export function leavesConnectionUnusable(error: unknown): boolean {
  const cause = error instanceof Failure ? error.cause : error;
  return cause instanceof Error && (cause.message === 'Query read timeout' || codeOf(cause) === '25006');
}

function judge(error: Error): Verdict | undefined {
  const code = codeOf(error);
  const onConnect = 'syscall' in error && error.syscall === 'connect';
  const known = bySqlState[code] ?? byErrno[code] ?? (onConnect ? bySocketErrno[code] : undefined);
  if (known !== undefined) return known;
  if (/^[0-9A-Z]{5}$/.test(code) && bySqlState[code.slice(0, 2)] !== undefined) return bySqlState[code.slice(0, 2)];
  return byMessage.find(([pattern]) => pattern.test(error.message))?.[1];
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** An error for several addresses of one host has no message of its own. */
function sentence(error: Error): string {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  const text = error.message || (first instanceof Error ? first.message : '') || codeOf(error);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
