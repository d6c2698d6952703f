import { edgePaths } from '../http/edge-openapi.ts';
import type { OperatorApi } from '../http/operator-api.ts';
import { fromTexts } from '../operator/input.ts';
import { openApiDocument } from '../operator/openapi.ts';
import { runOperation } from '../operator/operation.ts';
import { operations } from '../operator/registry.ts';
import type { Authenticator } from '../platform/tokens.ts';
import type { Engine } from './engine.ts';
import { operatorContext } from './operator-context.ts';
import type { Runtime } from './runtime.ts';

/** The operations, bound to what this process works with, for its HTTP server. */
export function operatorApi(runtime: Runtime, { repository, cluster }: Pick<Engine, 'repository' | 'cluster'>, authenticator: Authenticator): OperatorApi {
  const context = operatorContext(runtime, repository, cluster);
  const { requireTokenForReads, requireTokenForNodes } = runtime.settings.http;
  return {
    requireTokenForReads,
    requireTokenForNodes,
    document: openApiDocument(operations, edgePaths),
    authenticate: (authorization) => authenticator.authenticate(authorization),
    routes: operations.map((operation) => ({
      method: operation.method,
      path: operation.path,
      takesToken: operation.changesState || operation.confidential === true,
      call: ({ texts, body }, caller) => {
        const fromPath = fromTexts(operation.input, texts);
        // What is no object is refused by the schema.
        const raw = typeof body === 'object' && !Array.isArray(body) ? { ...body, ...fromPath } : body;
        return runOperation(context, operation, raw, caller);
      },
    })),
  };
}
