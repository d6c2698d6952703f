import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { createProgram } from '../../../src/cli/program.ts';
import { descriptionOf } from '../../../src/operator/input.ts';
import { edgePaths } from '../../../src/http/edge-openapi.ts';
import { openApiDocument } from '../../../src/operator/openapi.ts';
import { operations } from '../../../src/operator/registry.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';

/** Commands without a route, each with its reason. */
const commandsOnly: Readonly<Record<string, string>> = {
  'apply': 'is a pass in this process; a server applies by itself',
  'demo': 'a story on a machine of its own',
  'migrate': 'comes before there can be a server',
  'reconcile': 'is a cycle in this process; a server runs its own',
  'render': 'writes files on this machine',
  'run': 'is the server',
  'secrets': 'can show credentials, which a server never does',
  'version': 'is about this program',
};

const program = createProgram({
  env: {}, cwd: packageRoot(), signal: new AbortController().signal, self: { execPath: '', args: [] }, exit: () => undefined,
  terminal: { out: () => undefined, err: () => undefined, color: false },
});

/** Every command that does something, as its words. */
function leaves(above: Command, words: readonly string[] = []): string[] {
  return above.commands.flatMap((command) => {
    const name = [...words, command.name()];
    const isGroup = command.commands.length > 0 && !['leader', 'adopt'].includes(command.name());
    return [...(isGroup ? [] : [name.join('.')]), ...leaves(command, name)];
  });
}

const commands = leaves(program);
const names = operations.map(({ name }) => name);

describe('operations', () => {
  it('each have a command, and each command that has none here is an exception with a reason', () => {
    expect(commands.toSorted()).toEqual([...names, ...Object.keys(commandsOnly)].toSorted());
  });

  it('each have a name and a route of their own', () => {
    const routes = operations.map(({ method, path }) => `${method} ${path.replaceAll(/:[^/]+/g, ':')}`);
    expect(new Set(routes).size).toBe(routes.length);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(operations.map((operation) => [operation.name, operation] as const))('%s describes itself, and is bounded', (_name, { input, path, method, changesState }) => {
    const members = Object.keys(input.shape);
    for (const member of members) expect(descriptionOf(input, member), member).toMatch(/\S/);
    for (const [, part] of path.matchAll(/:([A-Za-z]+)/g)) expect(Object.keys(input.shape)).toContain(part);
    expect(input.safeParse({ ...Object.fromEntries(members.map((member) => [member, undefined])), nonsense: 1 }).success).toBe(false);
    expect(method === 'GET').toBe(!changesState);
    for (const member of members) expect(input.safeParse({ [member]: 'x'.repeat(2000) }).error?.issues.map((issue) => issue.path[0]), member).toContain(member);
  });
});

describe('the OpenAPI description', () => {
  const document = JSON.parse(JSON.stringify(openApiDocument(operations, edgePaths))) as { readonly paths: Record<string, Record<string, { operationId: string; security: unknown[] }>> };

  it('is valid', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
  });

  it('is the one that is published: npm run regenerate', async () => {
    expect(JSON.parse(await readFile(join(packageRoot(), 'config/openapi.json'), 'utf8'))).toEqual(document);
  });

  it('has every operation, and says of each that changes something that it takes a token', () => {
    const described = Object.values(document.paths).flatMap((path) => Object.values(path));
    const edge = ['edge.heartbeat', 'edge.register', 'edge.decommission'];
    expect(described.map(({ operationId }) => operationId).toSorted()).toEqual([...names, ...edge].toSorted());
    const open = described.filter(({ operationId }) => !edge.includes(operationId)).filter(({ security }) => security.some((way) => Object.keys(way as object).length === 0)).map(({ operationId }) => operationId);
    expect(open.toSorted()).toEqual(operations.filter(({ changesState, confidential }) => !changesState && confidential !== true).map(({ name }) => name).toSorted());
  });

  it('leaves no member of an input out', () => {
    for (const { method, path, input } of operations) {
      const described = JSON.stringify(document.paths[path.replaceAll(/:([A-Za-z]+)/g, '{$1}')]?.[method.toLowerCase()]);
      for (const member of Object.keys(input.shape)) expect(described).toContain(`"${member}"`);
    }
  });
});
