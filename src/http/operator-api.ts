import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { Failure, type FailureCode, type InputProblem } from '../model/failure.ts';
import type { Log } from '../platform/log.ts';

/** The operations of operators as the server gets them: bound to what they work with. */
export interface OperatorApi {
  readonly routes: readonly OperatorRoute[];
  /** The OpenAPI description of the routes. */
  readonly document: object;
  readonly authenticate: Authenticate;
  /** Whether all routes take a token. */
  readonly requireTokenForReads: boolean;
  /** Whether registering and decommissioning nodes over the edge API takes one too. */
  readonly requireTokenForNodes: boolean;
}

interface OperatorRoute {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** As fastify writes it: `/api/v1/nodes/:node/ack`. */
  readonly path: string;
  /** Always; the others only where the settings say so. */
  readonly takesToken: boolean;
  /** @throws Failure */
  readonly call: (request: OperatorRequest, caller: { readonly name: string }) => Promise<unknown>;
}

interface OperatorRequest {
  /** From path and query: all texts. */
  readonly texts: Readonly<Record<string, unknown>>;
  /** Null if there is none. */
  readonly body: unknown;
}

/** Who sends a bearer token; null for a header that names no valid one. @throws Failure */
export type Authenticate = (authorization: string) => Promise<{ readonly role: 'operator' | 'node'; readonly name: string } | null>;

const documentPath = '/api/v1/openapi.json';

/** Adds the routes. Errors are `application/problem+json` (RFC 9457) with `code`, `mend` and `problems`. */
export function addOperatorApi(app: FastifyInstance, api: OperatorApi, log: Log): void {
  // A scope of its own: the other routes keep their form of errors.
  app.register((scope, _options, done) => {
    scope.setErrorHandler((error, request, reply) => sendProblem(reply, failureOf(error, request, log)));
    scope.get(documentPath, () => api.document);
    for (const route of api.routes) addRoute(scope, route, api);
    done();
  });
}

function addRoute(scope: FastifyInstance, route: OperatorRoute, api: OperatorApi): void {
  const callers = new WeakMap<FastifyRequest, string>();
  scope.route({
    method: route.method satisfies HTTPMethods,
    url: route.path,
    // Before the body is read: who may not ask is not listened to.
    onRequest: async (request) => {
      const { authorization } = request.headers;
      const open = !route.takesToken && !api.requireTokenForReads && authorization === undefined;
      callers.set(request, open ? 'anonymous' : await callerOf(authorization, api.authenticate));
    },
    handler: async (request, reply) => {
      const { params, query, body = null } = request;
      const texts = { ...(query as object), ...(params as object) };
      const answer = await route.call({ texts, body }, { name: callers.get(request) ?? '' });
      return reply.header('cache-control', 'no-store').send(answer);
    },
  });
}

/** The name of the operator whose token was sent. @throws Failure `unauthorized`, `forbidden` */
export async function callerOf(authorization: string | undefined, authenticate: Authenticate): Promise<string> {
  if (authorization === undefined) {
    throw new Failure('unauthorized', 'This takes the token of an operator.', { mend: 'Send it as `Authorization: Bearer …`; `dory token create` makes one.' });
  }
  const known = await authenticate(authorization);
  if (known === null) throw new Failure('unauthorized', 'The token is not valid: unknown, revoked or expired.', { mend: '`dory token create` makes one.' });
  if (known.role !== 'operator') throw new Failure('forbidden', 'This takes the token of an operator; the one of a node speaks for the node only.');
  return known.name;
}

/** Statuses of the failures that say something about the request; all others are the server's, and not for ever. */
export const statuses: Readonly<Partial<Record<FailureCode, number>>> = {
  'invalid-input': 400,
  'unauthorized': 401,
  'forbidden': 403,
  'not-found': 404,
  'conflict': 409,
  'locked': 409,
};

/** What the client is told, in the members of RFC 9457 and ours. */
interface Problem {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly mend?: string;
  readonly problems?: readonly InputProblem[];
  readonly retryAfter?: boolean;
}

function failureOf(error: unknown, { method, routeOptions }: FastifyRequest, log: Log): Problem {
  if (error instanceof Failure) {
    const { code, message: detail, mend, problems, retry } = error;
    const status = statuses[code] ?? 503;
    if (status === 503) log.warn({ err: error, code, method, path: routeOptions.url }, 'an operation failed');
    return { status, code, detail, ...(mend === '' ? {} : { mend }), ...(problems.length === 0 ? {} : { problems }), retryAfter: status === 503 && retry !== 'never' };
  }
  const { statusCode: status = 500, code = 'invalid-request', message } = error as Partial<Error & { statusCode: number; code: string }>;
  if (status === 413) return { status, code: 'body-too-large', detail: 'The body is too large: at most 64 KiB.' };
  if (status < 500) return { status, code: code.startsWith('FST_') ? 'invalid-request' : code, detail: message ?? 'The request is not valid.' };
  log.error({ err: error, method, path: routeOptions.url }, 'a request failed');
  return { status: 500, code: 'internal', detail: 'The request failed; the log says why.' };
}

export function sendProblem(reply: FastifyReply, { status, code, detail, mend, problems, retryAfter }: Problem): FastifyReply {
  if (retryAfter === true) void reply.header('retry-after', '5');
  if (status === 401) void reply.header('www-authenticate', 'Bearer');
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    // As bytes, for the media type knows no charset.
    .send(Buffer.from(JSON.stringify({ type: `urn:dory:problem:${code}`, title: titleOf(code), status, detail, code, mend, problems })));
}

/** `not-found` → `Not found` */
function titleOf(code: string): string {
  return `${code.charAt(0).toUpperCase()}${code.slice(1).replaceAll('-', ' ')}`;
}

/** Whether a path belongs to the operators' part of the API, whose errors are problems. */
export function isOperatorPath(path: string): boolean {
  return path.startsWith('/api/v1/') && !path.startsWith('/api/v1/edge/');
}

/** The methods that a path takes, as `Allow` lists them; null if nothing is there. */
export function methodsAt(api: OperatorApi | null, path: string): string | null {
  if (api === null) return null;
  const found = api.routes.filter((route) => patternOf(route.path).test(path)).map(({ method }) => method);
  const all = new Set<string>(path === documentPath ? ['GET'] : found);
  if (all.has('GET')) all.add('HEAD');
  return all.size === 0 ? null : [...all].sort().join(', ');
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : part.replaceAll('.', '\\.'))).join('/')}$`);
}
