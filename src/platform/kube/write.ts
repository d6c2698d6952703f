import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { millis, seconds, type Millis } from '../../model/time.ts';
import { dropIdle, type KubeAccess, type KubeConnection } from './access.ts';

/** Requests whose answer says more than yes or no. Each may be sent twice: send only what does no harm then. */
export interface KubeWriter {
  /**
   * Never rejects because of the server.
   * @param mayStill asked when the connection is there, right before anything is sent on it: to connect may take as long as a lease lasts
   * @throws Failure as `KubeAccess`; what `mayStill` throws, and nothing was sent then
   */
  send(request: KubeRequest, mayStill?: () => Promise<void>): Promise<KubeAnswer>;
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
const usualPatience = seconds(40);
const anyTime = (): Promise<void> => Promise.resolve();

/** Writes over the connections of `access`, which stay open from one request to the next. `patience`: how long nothing may come. */
export function createKubeWriter(access: KubeAccess, patience: Millis = usualPatience): KubeWriter {
  const once = async (request: KubeRequest, mayStill: () => Promise<void>): Promise<Exchange> => {
    const exchange = await sendOnce(await access.connect(), request, { patience, mayStill });
    // Whatever failed, credentials or a certificate that were replaced may explain it.
    if (exchange.answer.kind !== 'answered' || exchange.answer.status === 401) access.renew();
    return exchange;
  };
  return {
    send: async (request, mayStill = anyTime) => {
      const first = await once(request, mayStill);
      const refused = first.answer.kind === 'answered' && first.answer.status === 401;
      // A server may close an idle connection in the very moment in which it is used again.
      return refused || first.wasIdle ? (await once(request, mayStill)).answer : first.answer;
    },
  };
}

interface Exchange {
  readonly answer: KubeAnswer;
  /** A connection that had been idle was closed before anything came back. */
  readonly wasIdle: boolean;
}

interface Sending {
  readonly patience: Millis;
  readonly mayStill: () => Promise<void>;
}

function sendOnce({ origin, agent, headers }: KubeConnection, { method, path, body }: KubeRequest, { patience, mayStill }: Sending): Promise<Exchange> {
  const isSecure = origin.protocol === 'https:';
  const send = isSecure ? httpsRequest : httpRequest;
  const about = body === undefined ? {} : { 'content-type': body.type, 'content-length': String(Buffer.byteLength(body.text)) };
  return new Promise((resolve, reject) => {
    // As an option it counts from before the connection is there.
    const sent = send({ ...origin, path: `${(origin.path ?? '').replace(/\/$/, '')}${path}`, method, agent, timeout: patience, headers: { accept: 'application/json', ...headers, ...about } });
    let begun = false;
    let answering = false;
    const fail = (error: NodeJS.ErrnoException): void => {
      const closed = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      resolve({ answer: { kind: begun ? 'lost' : 'unsent', why: error.message }, wasIdle: sent.reusedSocket && closed && !answering });
    };
    const begin = (): void => {
      mayStill().then(() => {
        begun = true;
        sent.end(body?.text);
      }, (error: unknown) => {
        reject(error instanceof Error ? error : new Error(String(error)));
        sent.destroy();
      });
    };
    sent.once('socket', (socket) => {
      // With TLS a socket is ready for the request when the handshake is over. One through a proxy may be connected before.
      if (sent.reusedSocket || (!isSecure && !socket.connecting)) begin();
      else socket.once(isSecure ? 'secureConnect' : 'connect', begin);
    });
    sent.once('timeout', () => {
      sent.destroy(new Error(`nothing came for ${String(patience / 1000)} s`));
      dropIdle(agent);
    });
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
