import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { z } from 'zod';
import { Failure, type FailureCode } from '../../model/failure.ts';
import { seconds, type Millis } from '../../model/time.ts';
import { dropIdle, type KubeAccess, type KubeConnection } from './access.ts';

/** Reads from an API server. Everything that it answers is untrusted text until it is parsed. */
export interface KubeClient {
  /**
   * @throws Failure `kubernetes-unreachable`, `kubernetes-refused` (401, 403), `kubernetes-missing` (404), `kubernetes-expired` (410: it
   * does not remember that far back); `settings-invalid` as `KubeAccess`.
   */
  get(path: string, query: Query, options?: GetOptions): Promise<Answer>;
  /** The lines of an answer that goes on, until the server ends it. Throws as `get`, and if the line is silent for `silence`. */
  lines(path: string, query: Query, options: { readonly signal: AbortSignal; readonly silence: Millis; readonly accept?: string; readonly onOpen: () => void }): AsyncGenerator<string, void>;
  close(): void;
}

type Query = Readonly<Record<string, string | undefined>>;

interface GetOptions {
  readonly signal?: AbortSignal;
  readonly accept?: string;
}

interface Answer {
  readonly body: unknown;
  /** The server's clock, to the second; null if it tells none. */
  readonly date: number | null;
}

/** A server that is alive answers within a second or two, and sends a page of 500 large objects in a few. */
const usualPatience = seconds(20);
/** Of what a server says about a failure: enough for a person. */
const longestText = 300;

/** `patience`: how long nothing may come of an answer. */
export function createKubeClient(access: KubeAccess, patience: Millis = usualPatience): KubeClient {
  const open = async (path: string, query: Query, options: GetOptions & { readonly silence: Millis }): Promise<IncomingMessage> => {
    const { url, agent, headers } = await access.connect();
    const response = await respond(`${url}${path}${search(query)}`, { agent, headers: { accept: 'application/json', ...headers, ...(options.accept === undefined ? {} : { accept: options.accept }) } }, options);
    if (response.statusCode === 200) return response;
    throw refusal(response.statusCode ?? 0, `GET ${path}`, await textOf(response));
  };
  /** Whatever failed, new credentials may help, and reading them again costs nothing. */
  const renewing = (error: unknown, path: string): Failure => {
    access.renew();
    return error instanceof Failure ? error : unreachable(`GET ${path}`, error);
  };
  return {
    get: async (path, query, options = {}) => {
      try {
        const response = await open(path, query, { ...options, silence: patience });
        const date = Date.parse(response.headers.date ?? '');
        return { body: JSON.parse(await textOf(response)) as unknown, date: Number.isNaN(date) ? null : date };
      } catch (error) {
        throw renewing(error, path);
      }
    },
    lines: async function* (path, query, { onOpen, ...options }) {
      try {
        const response = await open(path, query, options);
        onOpen();
        yield* split(response);
      } catch (error) {
        throw renewing(error, path);
      }
    },
    close: () => { access.close(); },
  };
}

/** The response, once its headers are there. A socket on which nothing comes for `silence` is given up: its other end may be gone. */
function respond(url: string, { agent, headers }: Pick<KubeConnection, 'agent' | 'headers'>, { signal, silence }: { readonly signal?: AbortSignal; readonly silence: Millis }): Promise<IncomingMessage> {
  const request = url.startsWith('https:') ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    // As an option it counts from before the connection is there.
    const sent = request(url, { agent, headers, timeout: silence, ...(signal === undefined ? {} : { signal }) });
    sent.once('timeout', () => {
      sent.destroy(new Error(`nothing came for ${String(silence / 1000)} s`));
      dropIdle(agent);
    });
    sent.once('response', resolve);
    // For good: one that is destroyed later says so a second time.
    sent.on('error', reject);
    sent.end();
  });
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

async function* split(response: IncomingMessage): AsyncGenerator<string, void> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const parts = (rest + String(chunk)).split('\n');
    rest = parts.pop() ?? '';
    yield* parts.filter((line) => line !== '');
  }
}

function search(query: Query): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
}

const statusSchema = z.object({ message: z.string() });

/** What a server's refusal is to us. */
const codes: Readonly<Record<number, FailureCode>> = { 401: 'kubernetes-refused', 403: 'kubernetes-refused', 404: 'kubernetes-missing', 410: 'kubernetes-expired' };

export function refusal(status: number, what: string, text: string): Failure {
  const code = codes[status] ?? 'kubernetes-unreachable';
  return new Failure(code, `Kubernetes answered ${what} with ${String(status)}: ${wordsOf(text).slice(0, longestText)}`, {
    ...(code === 'kubernetes-refused' ? { mend: "The ClusterRoles of clusters/<cluster>/system/orchestrator-access.yaml allow what is needed; check that they are applied, and whose credentials these are." } : {}),
  });
}

function wordsOf(text: string): string {
  try {
    return statusSchema.parse(JSON.parse(text)).message;
  } catch {
    return text;
  }
}

function unreachable(what: string, cause: unknown): Failure {
  return new Failure('kubernetes-unreachable', `Kubernetes can't be reached (${what}): ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}
