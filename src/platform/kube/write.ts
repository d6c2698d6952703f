import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { millis, seconds, type Millis } from '../../model/time.ts';
import type { KubeAccess, KubeConnection } from './access.ts';

/** Requests whose answer says more than yes or no. Each may be sent twice: send only what does no harm then. */
export interface KubeWriter {
  /** Never rejects because of the server. @throws Failure `settings-invalid` as `KubeAccess` */
  send(request: KubeRequest): Promise<KubeAnswer>;
}

export interface KubeRequest {
  readonly method: 'GET' | 'PATCH' | 'POST' | 'PUT' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: { readonly type: BodyType; readonly text: string };
}

type BodyType = 'application/json' | 'application/yaml' | 'application/apply-patch+yaml' | 'application/merge-patch+json' | 'application/json-patch+json';

export type KubeAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfter: Millis | null; /** Its JSON, else its text. Untrusted. */ readonly body: unknown }
  /** Nothing was sent. */
  | { readonly kind: 'unsent'; readonly why: string }
  /** It was sent, or may have been, and no whole answer came: it may have happened. */
  | { readonly kind: 'lost'; readonly why: string };

/** A server gives a request up after some 34 s, the webhooks behind it included. */
const patience = seconds(40);

/** Writes over the connections of `access`, which stay open from one request to the next. */
export function createKubeWriter(access: KubeAccess): KubeWriter {
  const once = async (request: KubeRequest): Promise<Exchange> => {
    const exchange = await sendOnce(await access.connect(), request);
    // Whatever failed, credentials or a certificate that were replaced may explain it.
    if (exchange.answer.kind !== 'answered' || exchange.answer.status === 401) access.renew();
    return exchange;
  };
  return {
    send: async (request) => {
      const first = await once(request);
      const refused = first.answer.kind === 'answered' && first.answer.status === 401;
      // A server may close an idle connection in the very moment in which it is used again.
      return refused || first.wasIdle ? (await once(request)).answer : first.answer;
    },
  };
}

interface Exchange {
  readonly answer: KubeAnswer;
  /** A connection that had been idle was closed before anything came back. */
  readonly wasIdle: boolean;
}

function sendOnce({ origin, agent, headers }: KubeConnection, { method, path, body }: KubeRequest): Promise<Exchange> {
  const isSecure = origin.protocol === 'https:';
  const send = isSecure ? httpsRequest : httpRequest;
  const about = body === undefined ? {} : { 'content-type': body.type, 'content-length': String(Buffer.byteLength(body.text)) };
  return new Promise((resolve) => {
    const sent = send({ ...origin, path: `${(origin.path ?? '').replace(/\/$/, '')}${path}`, method, agent, headers: { accept: 'application/json', ...headers, ...about } });
    let connected = false;
    let answering = false;
    const fail = (error: NodeJS.ErrnoException): void => {
      const closed = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      resolve({ answer: { kind: connected ? 'lost' : 'unsent', why: error.message }, wasIdle: sent.reusedSocket && closed && !answering });
    };
    sent.once('socket', (socket) => {
      // With TLS a socket is ready for the request when the handshake is over.
      if (sent.reusedSocket) connected = true;
      else socket.once(isSecure ? 'secureConnect' : 'connect', () => { connected = true; });
    });
    sent.setTimeout(patience, () => { sent.destroy(new Error(`nothing came for ${String(patience / 1000)} s`)); });
    sent.once('response', (response) => {
      answering = true;
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', fail);
      response.once('end', () => {
        resolve({ answer: { kind: 'answered', status: response.statusCode ?? 0, retryAfter: retryAfterOf(response.headers), body: parsed(Buffer.concat(chunks).toString('utf8')) }, wasIdle: false });
      });
    });
    // For good: one that is destroyed later says so a second time.
    sent.on('error', fail);
    sent.end(body?.text);
  });
}

function retryAfterOf({ 'retry-after': header }: IncomingHttpHeaders): Millis | null {
  const value = Number(header ?? Number.NaN);
  return Number.isFinite(value) && value >= 0 ? millis(value * 1000) : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
