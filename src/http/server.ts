import { fastify, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { Failure } from '../model/failure.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { proveBeat, type AgentTokens } from './agent-tokens.ts';
import type { Health } from './health.ts';
import { directives, messages, parseBeat, type FieldProblem, type HeartbeatAnswer, type Parsed } from './heartbeat.ts';
import type { HeartbeatIntake } from './intake.ts';
import { parseReference, parseRegistration, type NodeOutcome, type NodeRegistry, type Word } from './nodes.ts';
import { addOperatorApi, callerOf, isOperatorPath, methodsAt, sendProblem, statuses, type OperatorApi } from './operator-api.ts';

interface HttpServerOptions {
  readonly intake: HeartbeatIntake;
  readonly nodes: NodeRegistry;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: HttpLimits;
  /** Null: none is known, and none is asked for. */
  readonly agents?: AgentTokens | null;
  /** Null: there is none. */
  readonly operator?: OperatorApi | null;
}

interface HttpLimits {
  readonly bodyBytes: number;
  /** A request must have arrived within this time. */
  readonly requestTimeoutMs: number;
  /** An idle connection is kept this long. */
  readonly keepAliveMs: number;
  /** A connection on which nothing moves for so long, while an answer is made or waits to be read, is given up. */
  readonly silenceMs: number;
}

/**
 * A heartbeat is some 300 bytes; an agent sends one every 5 to 10 s on one connection, which then outlives a few pauses. A plan of
 * a large fleet takes seconds, and who asks for it waits for a minute.
 */
export const defaultHttpLimits: HttpLimits = { bodyBytes: 64 * 1024, requestTimeoutMs: 10_000, keepAliveMs: 75_000, silenceMs: 90_000 };

const paths = {
  heartbeat: '/api/v1/edge/heartbeat',
  register: '/api/v1/edge/nodes',
  decommission: '/api/v1/edge/nodes/decommission',
  metrics: '/metrics',
  healthz: '/healthz',
  readyz: '/readyz',
  livez: '/livez',
} as const;

/** The methods of every path that exists: all others are 405. */
const methods: ReadonlyMap<string, string> = new Map([
  ...[paths.heartbeat, paths.register, paths.decommission].map((path) => [path, 'POST'] as const),
  ...[paths.metrics, paths.healthz, paths.readyz, paths.livez].map((path) => [path, 'GET, HEAD'] as const),
]);

/** A request that is answered with an error of the client's. */
class Refusal extends Error {
  readonly statusCode: number;
  readonly code: string;
  readonly problems: readonly FieldProblem[];

  constructor(statusCode: number, code: string, message: string, problems: readonly FieldProblem[] = []) {
    super(message);
    this.statusCode = statusCode;
    this.code = code;
    this.problems = problems;
  }
}

/** The HTTP server, not listening yet. Errors are `{"error": code, "message": …, "problems": [{"field", "value", "mend"}]}`. */
export function createHttpServer(options: HttpServerOptions): FastifyInstance {
  const { limits, operator = null } = options;
  const app = fastify({
    bodyLimit: limits.bodyBytes,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionTimeout: limits.silenceMs,
    // Agents keep their connections: a shutdown does not wait for them.
    forceCloseConnections: 'idle',
    // A beat that comes while the last ones are answered is taken as well: no agent is told that we are away.
    return503OnClosing: false,
    logger: false,
  });
  acceptJson(app);
  answerErrors(app, options);
  addProbes(app, options);
  addEdgeApi(app, options);
  if (operator !== null) addOperatorApi(app, operator, options.log);
  return app;
}

/**
 * Answers what is under way, then takes nothing more. Once a server closes, Node looks after no half request any more: who has
 * not sent the rest, or not read its answer, within the time of a request is not waited for.
 */
export async function closeHttpServer(app: FastifyInstance, { requestTimeoutMs }: Pick<HttpLimits, 'requestTimeoutMs'> = defaultHttpLimits): Promise<void> {
  const cut = setTimeout(() => { app.server.closeAllConnections(); }, requestTimeoutMs);
  await app.close().finally(() => { clearTimeout(cut); });
}

/** Whatever the content type says: existing clients do not always set it. */
function acceptJson(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, JSON.parse(body.toString()));
    } catch (error) {
      done(new Refusal(400, 'invalid-json', `The body is not JSON: ${error instanceof Error ? error.message : String(error)}`));
    }
  });
}

function answerErrors(app: FastifyInstance, { metrics, log, limits, operator = null }: HttpServerOptions): void {
  const unmatched = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const path = request.url.split('?', 1)[0] ?? '';
    const allowed = methods.get(path) ?? methodsAt(operator, path);
    const refusal = allowed === null
      ? new Refusal(404, 'not-found', `There is nothing at ${path.slice(0, 200)}.`)
      : new Refusal(405, 'method-not-allowed', `${path.slice(0, 200)} takes ${allowed}, not ${request.method}.`);
    if (allowed !== null) void reply.header('allow', allowed);
    if (!isOperatorPath(path)) return refuse(reply, refusal);
    return sendProblem(reply, { status: refusal.statusCode, code: refusal.code, detail: refusal.message });
  };
  // Before the body is read, so that no body, however large or broken, hides the answer.
  app.addHook('onRequest', async (request, reply) => (request.is404 ? unmatched(request, reply) : undefined));
  app.setNotFoundHandler(unmatched);

  app.setErrorHandler(async (error: Error & { readonly statusCode?: number; readonly code?: string }, request, reply) => {
    const status = error.statusCode ?? 500;
    const refused = error instanceof Failure ? statuses[error.code] : undefined;
    if ((status < 500 || refused !== undefined) && request.url.startsWith(paths.heartbeat)) metrics.heartbeats.inc({ result: 'refused' });
    if (error instanceof Refusal) return refuse(reply, error);
    if (status === 413) return refuse(reply, new Refusal(413, 'body-too-large', `The body is larger than ${String(limits.bodyBytes)} bytes.`));
    if (status < 500) return refuse(reply, new Refusal(status, 'invalid-request', error.message));
    if (refused === 401) void reply.header('www-authenticate', 'Bearer');
    if (error instanceof Failure && refused !== undefined) return refuse(reply, new Refusal(refused, error.code, withMend(error)));
    log.error({ err: error, method: request.method, path: request.url }, 'a request failed');
    if (!(error instanceof Failure)) return refuse(reply, new Refusal(500, 'internal', 'The request failed; the log says why.'));
    return refuse(reply.header('retry-after', '5'), new Refusal(503, error.code, error.message));
  });
}

/** The form of the running system has one member for people. */
function withMend({ message, mend }: Failure): string {
  return mend === '' ? message : `${message} ${mend}`;
}

function refuse(reply: FastifyReply, { statusCode, code, message, problems }: Refusal): FastifyReply {
  return reply.code(statusCode).send({ error: code, message, ...(problems.length > 0 ? { problems } : {}) });
}

function addProbes(app: FastifyInstance, { health, metrics }: HttpServerOptions): void {
  app.get(paths.metrics, async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));
  app.get(paths.livez, () => ({ status: 'ok' }));
  app.get(paths.healthz, () => ({ status: 'ok' }));
  app.get(paths.readyz, (_request, reply) => (health.ready ? { status: 'ready' } : reply.code(503).send({ status: 'shutting down' })));
}

function addEdgeApi(app: FastifyInstance, { intake, nodes, clock, agents = null, operator = null }: HttpServerOptions): void {
  app.post(paths.heartbeat, async ({ headers, body }, reply) => {
    const beat = accepted(parseBeat(body));
    const proven = agents === null ? beat : await proveBeat(beat, headers.authorization, agents).catch(withoutDatabase);
    const answer = proven === null ? intake.lose() : await intake.record(proven);
    // Its next beat should find an instance that can store it: while one can, silence counts, and a connection that is kept leads here.
    if (answer.standing === 'unstored') void reply.header('connection', 'close');
    return heartbeatBody(answer, clock.now() / 1000);
  });
  // Existing clients send no token, and nobody asks for one unless a setting says so.
  const wordOf = async ({ headers }: FastifyRequest): Promise<Word | null> =>
    operator?.requireTokenForNodes === true ? { by: await callerOf(headers.authorization, operator.authenticate), reason: 'over the edge API' } : null;
  app.post(paths.register, async (request, reply) => {
    const word = await wordOf(request);
    return nodeReply(reply, await nodes.register(accepted(parseRegistration(request.body)), word));
  });
  app.post(paths.decommission, async (request, reply) => {
    const word = await wordOf(request);
    return nodeReply(reply, await nodes.decommission(accepted(parseReference(request.body)), word));
  });
}

/** A database that is away stops no agent, whoever it is. */
function withoutDatabase(error: unknown): null {
  if (error instanceof Failure && statuses[error.code] === undefined) return null;
  throw error;
}

function accepted<T>(parsed: Parsed<T>): T {
  if (parsed.ok) return parsed.value;
  throw new Refusal(400, 'invalid-field', parsed.problems.map(({ field, mend }) => `${field}: ${mend}`).join(' '), parsed.problems);
}

/** Members beyond the first three are ours; the SDK reads `message` and leaves out what it does not know. */
function heartbeatBody({ standing, placementEpoch, leaseSec }: HeartbeatAnswer, unixSeconds: number): object {
  const message = messages[standing];
  return {
    acknowledged: true,
    orchestrator_time: unixSeconds,
    directive: directives[standing],
    placement_epoch: placementEpoch,
    lease_sec: leaseSec,
    ...(message === undefined ? {} : { message }),
  };
}

function nodeReply(reply: FastifyReply, outcome: NodeOutcome): FastifyReply {
  switch (outcome.kind) {
    case 'created':
      return reply.code(201).send(outcome.node);
    case 'changed':
    case 'unchanged':
      return reply.code(200).send(outcome.node);
    case 'missing':
      throw new Refusal(404, 'not-found', 'There is no such node.');
    case 'invalid':
      throw new Refusal(400, 'invalid-field', outcome.problem.mend, [outcome.problem]);
    case 'conflict':
      throw new Refusal(409, 'conflict', outcome.problem.mend, [outcome.problem]);
  }
}
