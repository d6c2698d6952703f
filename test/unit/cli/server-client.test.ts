import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import { exitCodes } from '../../../src/cli/exit-codes.ts';
import { runCli } from '../../../src/cli/program.ts';
import { askServer, serverOf } from '../../../src/cli/server-client.ts';
import { operation } from '../../../src/operator/operation.ts';
import { temporaryFolder } from '../../support/temp.ts';

const echo = (method: 'GET' | 'PUT') => operation({
  name: 'echo', method, path: '/api/v1/things/:thing', summary: '', changesState: false,
  input: z.strictObject({ thing: z.string(), list: z.array(z.string()).optional(), limit: z.int().optional() }),
  output: z.object({ ok: z.boolean() }),
  run: () => Promise.resolve({ ok: true }),
});

interface Heard {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly token: string | undefined;
  readonly body: string;
}

/** A server that answers everything alike, and what it heard. */
async function answering(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Promise<{ readonly url: string; readonly heard: Heard[] }> {
  const heard: Heard[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    void text(request).then((sent) => {
      heard.push({ method: request.method, url: request.url, token: request.headers.authorization, body: sent });
      response.writeHead(status, headers).end(body);
    });
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise((resolve) => { server.close(() => { resolve(); }); server.closeAllConnections(); }));
  return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, heard };
}

const context = (env: Readonly<Record<string, string>>, cwd = '/') => ({
  env, cwd, terminal: { out: () => undefined, err: () => undefined, color: false }, signal: new AbortController().signal, self: { execPath: '', args: [] }, exit: () => undefined,
});
const failed = (code: string) => expect.objectContaining({ code }) as unknown;

describe('a request', () => {
  it('has its members in the path, and in the query or the body', async () => {
    const { url, heard } = await answering(200, '{"ok":true,"later":1}');
    const server = { url: new URL(`${url}/behind/`), token: 'secret' };
    const input = { thing: 'a/b c', list: ['x', 'y'], limit: 3 };
    expect(await askServer(server, echo('GET'), input)).toEqual({ ok: true });
    expect(await askServer({ ...server, token: null }, echo('PUT'), input)).toEqual({ ok: true });
    expect(heard).toEqual([
      { method: 'GET', url: '/behind/api/v1/things/a%2Fb%20c?list=x%2Cy&limit=3', token: 'Bearer secret', body: '' },
      { method: 'PUT', url: '/behind/api/v1/things/a%2Fb%20c', token: undefined, body: '{"list":["x","y"],"limit":3}' },
    ]);
  });
});

describe('an answer', () => {
  it.each<readonly [string, number, string, string]>([
    ['a problem of ours', 409, '{"code":"locked","detail":"held by ada","mend":"ask"}', 'locked'],
    ['a problem of a later version', 422, '{"code":"too-late","detail":"no"}', 'server-refused'],
    ['an error of something in between', 502, '<html>bad gateway</html>', 'server-refused'],
    ['something else', 200, '{"hello":"world"}', 'server-refused'],
    ['nothing', 200, '', 'server-refused'],
  ])('%s', async (_what, status, body, code) => {
    const { url } = await answering(status, body);
    await expect(askServer({ url: new URL(url), token: null }, echo('GET'), { thing: 'a' })).rejects.toEqual(failed(code));
  });

  it('that sends it elsewhere is no answer: the token goes nowhere else', async () => {
    const elsewhere = await answering(200, '{"ok":true}');
    const { url } = await answering(307, '', { location: `${elsewhere.url}/api/v1/things/a` });
    await expect(askServer({ url: new URL(url), token: 'secret' }, echo('GET'), { thing: 'a' })).rejects.toEqual(failed('server-unreachable'));
    expect(elsewhere.heard).toEqual([]);
  });

  it('that never comes says who can not be reached, and never the token', async () => {
    const { url } = await answering(200, '');
    const gone = new URL(url);
    gone.port = '9';
    const error = await askServer({ url: gone, token: 'secret' }, echo('GET'), { thing: 'a' }).catch((thrown: unknown) => thrown as Error);
    expect(error).toEqual(failed('server-unreachable'));
    expect(String(error)).toContain(gone.host);
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('secret');
  });
});

describe('a command', () => {
  async function dory(args: readonly string[], signal = new AbortController().signal): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    const said = { out: '', err: '' };
    const terminal = { out: (told: string) => { said.out += told; }, err: (told: string) => { said.err += told; }, color: false };
    const code = await runCli(args, { ...context({}), terminal, signal });
    return { code, ...said };
  }

  it('says on standard error that a list is empty, and nothing where a table would be; machines get their document', async () => {
    const { url } = await answering(200, '{"items":[],"continue":null}');
    const { code, out, err } = await dory(['nodes', '--server', url]);
    expect({ code, out, told: err !== '' }).toEqual({ code: 0, out: '', told: true });
    expect(await dory(['nodes', '--server', url, '-o', 'json'])).toEqual({ code: 0, out: '[]\n', err: '' });
  });

  it('shows what a terminal would obey in what the server says', async () => {
    const { url } = await answering(409, '{"code":"locked","detail":"held by \\u001b[2J","mend":"ask\\u009b2J"}');
    const { code, err } = await dory(['resume', '--reason', 'x', '--server', url]);
    expect(code).toBe(exitCodes.error);
    expect(err).toContain('\\u001b[2J');
    expect(err).not.toMatch(/[\u001b\u009b]/);
  });

  it('waits no longer for an answer when it is told to stop', async () => {
    const stop = new AbortController();
    const silent = createServer(() => { stop.abort(); });
    await new Promise<void>((resolve) => { silent.listen(0, '127.0.0.1', resolve); });
    onTestFinished(() => new Promise((resolve) => { silent.close(() => { resolve(); }); silent.closeAllConnections(); }));
    const { port } = silent.address() as AddressInfo;
    expect(await dory(['leader', '--server', `http://127.0.0.1:${String(port)}`], stop.signal)).toEqual({ code: exitCodes.interrupted, out: '', err: '' });
  });
});

describe('which server', () => {
  it('none, the one of the flag before that of the environment, and its token', async () => {
    const folder = await temporaryFolder();
    onTestFinished(() => folder.remove());
    await writeFile(join(folder.path, 'token'), 'from-file\n');
    expect(await serverOf(context({}), {})).toBeNull();
    expect(await serverOf(context({ DORY_SERVER: 'https://a', DORY_TOKEN: 't' }), {})).toEqual({ url: new URL('https://a'), token: 't' });
    expect(await serverOf(context({ DORY_SERVER: 'https://a' }), { server: 'http://b' })).toEqual({ url: new URL('http://b'), token: null });
    expect(await serverOf(context({ DORY_SERVER: 'https://a' }), { server: '' })).toBeNull();
    expect((await serverOf(context({ DORY_SERVER: 'https://a', DORY_TOKEN: 't' }, folder.path), { tokenFile: 'token' }))?.token).toBe('from-file');
    expect((await serverOf(context({ DORY_SERVER: 'https://a', DORY_TOKEN_FILE: join(folder.path, 'token') }), {}))?.token).toBe('from-file');
  });

  it.each(['dory.example.com', 'ftp://dory.example.com', 'https://ada:secret@dory.example.com'])('not %s', async (server) => {
    const error = await serverOf(context({}), { server }).then(() => null, (thrown: unknown) => thrown as Error);
    expect(error).toEqual(failed('invalid-input'));
    expect(error?.message).not.toContain('secret');
  });

  it('not with a token that is not there', async () => {
    await expect(serverOf(context({ DORY_SERVER: 'https://a' }), { tokenFile: '/no/such/file' })).rejects.toEqual(failed('invalid-input'));
  });
});
