import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Failure, isFailureCode, type InputProblem } from '../model/failure.ts';
import type { RawInput } from '../operator/input.ts';
import type { Operation } from '../operator/operation.ts';
import type { CliContext } from './context.ts';

/** A server that runs operations for us. */
export interface Server {
  readonly url: URL;
  /** Null: none; enough for what changes nothing. */
  readonly token: string | null;
}

export interface ServerFlags {
  readonly server?: string;
  readonly tokenFile?: string;
}

/** Long enough for a plan of a large fleet. */
const timeoutMs = 60_000;

/**
 * The server that `--server` or `DORY_SERVER` names; null: the database is asked.
 * @throws Failure `invalid-input` if the URL can't be used, or the token can't be read; the token is never shown
 */
export async function serverOf({ env, cwd }: CliContext, flags: ServerFlags): Promise<Server | null> {
  const text = flags.server ?? env['DORY_SERVER'] ?? '';
  if (text === '') return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.username !== '' || url.password !== '') {
    throw new Failure('invalid-input', 'The server must be a URL of http or https without a password.', { mend: 'Such as --server https://dory.example.com; the token goes into DORY_TOKEN or --token-file.' });
  }
  return { url, token: await tokenOf(env, cwd, flags.tokenFile ?? env['DORY_TOKEN_FILE'] ?? '') };
}

async function tokenOf(env: CliContext['env'], cwd: string, file: string): Promise<string | null> {
  if (file === '') return env['DORY_TOKEN'] ?? null;
  try {
    return (await readFile(resolve(cwd, file), 'utf8')).trim();
  } catch (cause) {
    throw new Failure('invalid-input', `The token can't be read: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  }
}

/** @throws Failure as the server answered, `server-unreachable`, or `server-refused` for an answer that is none of its own */
export async function askServer(server: Server, operation: Operation, input: RawInput): Promise<unknown> {
  const { url, body } = requestOf(server.url, operation, input);
  let status: number;
  let text: string;
  try {
    const response = await fetch(url, {
      method: operation.method,
      headers: { accept: 'application/json', ...(body === null ? {} : { 'content-type': 'application/json' }), ...(server.token === null ? {} : { authorization: `Bearer ${server.token}` }) },
      body,
      // A token goes to the server that was named, and nowhere else.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
    status = response.status;
    text = await response.text();
  } catch (cause) {
    throw new Failure('server-unreachable', `${server.url.origin} can't be reached: ${reasonOf(cause)}.`, { mend: 'Check --server or DORY_SERVER.', cause });
  }
  const answer = parseJson(text);
  if (status >= 400) throw refusalOf(server, status, answer);
  const parsed = operation.output.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new Failure('server-refused', `${server.url.origin} answered with something else than expected.`, { mend: 'Is it a dory server, and of this version?', cause: parsed.error });
}

/** The path with its parts filled in; what is left goes into the query, or into the body where there is one. */
function requestOf(base: URL, { method, path }: Operation, input: RawInput): { readonly url: URL; readonly body: string | null } {
  const left = new Map(Object.entries(input));
  const filled = path.replaceAll(/:([A-Za-z]+)/g, (_part, name: string) => {
    const value = left.get(name);
    left.delete(name);
    return encodeURIComponent(String(value));
  });
  const url = new URL(base.pathname.replace(/\/$/, '') + filled, base);
  if (method !== 'GET' && method !== 'DELETE') return { url, body: JSON.stringify(Object.fromEntries(left)) };
  for (const [name, value] of left) url.searchParams.set(name, Array.isArray(value) ? value.join(',') : String(value));
  return { url, body: null };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

interface Problem {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly mend?: unknown;
  readonly problems?: readonly InputProblem[];
}

function refusalOf({ url }: Server, status: number, answer: unknown): Failure {
  const { code, detail, mend, problems } = (answer ?? {}) as Problem;
  if (typeof detail !== 'string') return new Failure('server-refused', `${url.origin} answered with ${String(status)}.`, { mend: 'Is it a dory server?' });
  return new Failure(isFailureCode(code) ? code : 'server-refused', detail, {
    ...(typeof mend === 'string' ? { mend } : {}),
    ...(Array.isArray(problems) ? { problems } : {}),
  });
}

/** `fetch` hides what happened in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}
