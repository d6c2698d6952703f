import { pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino';

export type Log = Logger;

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Members that must never be printed, wherever a log call puts them: a net under the rule not to log them at all. */
const secretMembers = ['password', 'token', 'secret', 'authorization', 'stateToken', 'connectionString', 'connectionConfig'];

/**
 * One JSON object a line: `level` by name, `time` in ISO 8601, `msg`. Errors go under `err`.
 * Written to standard error unless `destination` is given: standard output belongs to the commands.
 */
export function createLog(options: { readonly level: LogLevel; readonly destination?: DestinationStream }): Log {
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretMembers.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
    },
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  );
}

/** For callers that have nothing to say. */
export const silentLog: Log = pino({ level: 'silent' });
