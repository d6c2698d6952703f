import { execFile, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server as HttpsServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import ssh2 from 'ssh2';
import { openRepository, type PublishRequest, type Repository, type RepositoryPorts } from '../../src/commit/repository.ts';
import { usualPath, type GitSettings } from '../../src/commit/settings.ts';
import type { RevisionId } from '../../src/model/ids.ts';
import { instant, seconds } from '../../src/model/time.ts';
import type { FileChange } from '../../src/model/tree.ts';
import { blobName } from '../../src/platform/digest.ts';
import { silentLog } from '../../src/platform/log.ts';
import { certificate } from './certificate.ts';
import { fixedRandom, hurryingClock } from './clock.ts';
import { temporaryFolder } from './temp.ts';

const run = promisify(execFile);

/** Git of the tests' own, that knows nothing of this machine's configuration. Returns what it printed, trimmed. */
export async function git(directory: string, ...args: readonly string[]): Promise<string> {
  const env = {
    PATH: usualPath, HOME: '/nonexistent', LC_ALL: 'C', GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0',
    GIT_AUTHOR_NAME: 'Ada', GIT_AUTHOR_EMAIL: 'ada@example.org', GIT_COMMITTER_NAME: 'Ada', GIT_COMMITTER_EMAIL: 'ada@example.org',
  };
  const { stdout } = await run('git', ['-c', 'init.defaultBranch=main', '-c', 'gc.auto=0', ...args], { cwd: directory, env, maxBuffer: 2 ** 28 });
  return stdout.trim();
}

export interface GitWorld {
  readonly folder: string;
  /** A bare repository. */
  readonly remote: string;
  readonly settings: (changes?: Partial<GitSettings>) => GitSettings;
  /** Closed with the world. Each call is another instance; `dataDir` tells whether on the same clone. */
  readonly open: (changes?: Partial<GitSettings>, ports?: Partial<RepositoryPorts>) => Repository;
  readonly person: () => Promise<PersonAtWork>;
  readonly close: () => Promise<void>;
}

const dory = { name: 'dory', email: 'dory@localhost' };

/** A remote without a commit, and what tests do with it. */
export async function gitWorld(): Promise<GitWorld> {
  const temporary = await temporaryFolder();
  const folder = temporary.path;
  const remote = join(folder, 'remote.git');
  await git(folder, 'init', '--quiet', '--bare', remote);
  const opened: Repository[] = [];
  let people = 0;
  const settings = (changes: Partial<GitSettings> = {}): GitSettings => ({
    url: remote, branch: 'main', author: dory, committer: dory, dataDir: join(folder, 'data'), cluster: 'alpha', owner: 'owner-1',
    auth: { kind: 'none' }, caFile: null, signingKeyFile: null, path: null, timeouts: { local: seconds(120), network: seconds(120) }, ...changes,
  });
  return {
    folder,
    remote,
    settings,
    open: (changes, ports) => {
      const repository = openRepository(settings(changes), { clock: hurryingClock(), random: fixedRandom(0.5), log: silentLog, ...ports });
      opened.push(repository);
      return repository;
    },
    person: () => personAtWork(join(folder, `person-${String((people += 1))}`), remote),
    close: async () => {
      for (const repository of opened) await repository.close();
      await temporary.remove();
    },
  };
}

/** Somebody with a clone, a work tree and an editor. */
interface PersonAtWork {
  /** Writes (null: deletes) files, commits and pushes; returns the commit. */
  readonly push: (files: Readonly<Record<string, string | null>>, message?: string) => Promise<string>;
  /** Any git command in the work tree. */
  readonly git: (...args: readonly string[]) => Promise<string>;
}

async function personAtWork(directory: string, remote: string): Promise<PersonAtWork> {
  await git('/', 'clone', '--quiet', remote, directory);
  const here = (...args: readonly string[]): Promise<string> => git(directory, ...args);
  return {
    git: here,
    push: async (files, message = 'Edit by hand') => {
      await here('fetch', '--quiet');
      if ((await here('branch', '--remotes', '--list', 'origin/main')) !== '') await here('reset', '--quiet', '--hard', 'origin/main');
      for (const [path, content] of Object.entries(files)) {
        if (content === null) await here('rm', '--quiet', '-r', path);
        else await put(join(directory, path), content);
      }
      await here('add', '--all');
      await here('commit', '--quiet', '--message', message);
      await here('push', '--quiet', 'origin', 'HEAD:main');
      return here('rev-parse', 'HEAD');
    },
  };
}

async function put(file: string, content: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
}

export function file(path: string, content: string | null): FileChange {
  const bytes = content === null ? null : Buffer.from(content);
  return { path, content: bytes, blob: bytes === null ? null : blobName(bytes) };
}

/** Files below `clusters/alpha/`, with those by which our folder is known. */
export function tree(revision: number, files: Readonly<Record<string, string | null>>, owner = 'owner-1'): readonly FileChange[] {
  const own = { '.dory/owner.json': JSON.stringify({ owner }), '.dory/change.json': JSON.stringify({ revision }) };
  return Object.entries({ ...own, ...files }).map(([path, content]) => file(`clusters/alpha/${path}`, content));
}

export function request(revision: number, files: Readonly<Record<string, string | null>>, changes: Partial<PublishRequest> = {}): PublishRequest {
  return {
    files: tree(revision, files),
    message: `place: 1 processor\n\nDory-Cluster: alpha\nDory-Revision: ${String(revision)}\n`,
    revision: revision as RevisionId,
    decidedAt: instant(1_790_000_000_000 + revision * 1000),
    leaderCheck: () => Promise.resolve(),
    ...changes,
  };
}

/** Path → content of a commit of the remote. */
export async function contentsOf(remote: string, commit: string): Promise<Readonly<Record<string, string>>> {
  const paths = (await git(remote, 'ls-tree', '-r', '--name-only', commit)).split('\n').filter((path) => path !== '');
  return Object.fromEntries(await Promise.all(paths.map(async (path) => [path, await git(remote, 'show', `${commit}:${path}`)] as const)));
}

export interface SshKey {
  readonly file: string;
  /** As in `authorized_keys`. */
  readonly publicKey: string;
}

export async function sshKey(folder: string, name: string): Promise<SshKey> {
  const keyFile = join(folder, name);
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', keyFile]);
  return { file: keyFile, publicKey: (await readFile(`${keyFile}.pub`, 'utf8')).trim() };
}

export interface GitServer {
  /** Of `remote.git` below the served folder. */
  readonly url: string;
  readonly port: number;
  readonly close: () => Promise<void>;
}

export interface HttpsGitServer extends GitServer {
  readonly caFile: string;
  /** Each `Authorization` that it was shown. */
  readonly seen: readonly string[];
}

/** Git's smart HTTP over TLS, for whoever shows this user and token. */
export async function httpsGitServer(root: string, user: string, token: string): Promise<HttpsGitServer> {
  const { certFile: caFile, keyFile } = await certificate(root, 'ca');
  const seen: string[] = [];
  const expected = `Basic ${Buffer.from(`${user}:${token}`).toString('base64')}`;
  const server = createServer({ key: await readFile(keyFile), cert: await readFile(caFile) }, (incoming, outgoing) => {
    const { authorization } = incoming.headers;
    if (authorization !== undefined) seen.push(authorization);
    if (authorization === expected) httpBackend(root, incoming, outgoing);
    else outgoing.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
  });
  const port = await listen(server);
  return { url: `https://127.0.0.1:${String(port)}/remote.git`, port, caFile, seen, close: () => closed(server) };
}

function httpBackend(root: string, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const url = new URL(incoming.url ?? '/', 'https://127.0.0.1');
  const env = {
    PATH: usualPath, HOME: root, GIT_PROJECT_ROOT: root, GIT_HTTP_EXPORT_ALL: '1', REMOTE_USER: 'tester', PATH_INFO: url.pathname, QUERY_STRING: url.search.slice(1),
    REQUEST_METHOD: incoming.method ?? 'GET', CONTENT_TYPE: incoming.headers['content-type'] ?? '', GIT_PROTOCOL: String(incoming.headers['git-protocol'] ?? ''),
    HTTP_CONTENT_ENCODING: incoming.headers['content-encoding'] ?? '',
  };
  const backend = spawn('git', ['http-backend'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  incoming.pipe(backend.stdin);
  const output: Buffer[] = [];
  backend.stdout.on('data', (bytes: Buffer) => output.push(bytes));
  backend.on('close', () => {
    const all = Buffer.concat(output);
    const end = all.indexOf('\r\n\r\n');
    const headers = all.toString('latin1', 0, end).split('\r\n').map((line) => line.split(': ') as [string, string]);
    const status = headers.find(([name]) => name === 'Status')?.[1] ?? '200';
    outgoing.writeHead(Number.parseInt(status, 10), Object.fromEntries(headers.filter(([name]) => name !== 'Status'))).end(all.subarray(end + 4));
  });
}

/** Git over ssh, for whoever holds this key. `known_hosts` lines name it by address and port. */
export async function sshGitServer(root: string, allowed: SshKey): Promise<GitServer & { readonly knownHosts: string }> {
  const host = await sshKey(root, 'host-key');
  const accepted = ssh2.utils.parseKey(allowed.publicKey);
  if (accepted instanceof Error) throw accepted;
  const clients = new Set<ssh2.Connection>();
  const server = new ssh2.Server({ hostKeys: [await readFile(host.file)] }, (client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    client.on('error', () => undefined);
    client.on('authentication', (attempt) => {
      const known = attempt.method === 'publickey' && attempt.key.data.equals(accepted.getPublicSSH());
      // First it asks whether the key would do, then it proves that it holds it.
      const right = known && (attempt.signature === undefined || accepted.verify(attempt.blob ?? Buffer.alloc(0), attempt.signature, attempt.hashAlgo));
      if (right) attempt.accept();
      else attempt.reject(['publickey']);
    });
    client.on('session', (accept) => {
      accept().on('exec', (acceptExec, _reject, { command }) => { serveCommand(root, command, acceptExec()); });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `ssh://git@127.0.0.1:${String(port)}/remote.git`,
    port,
    knownHosts: `[127.0.0.1]:${String(port)} ${host.publicKey}\n`,
    close: () => new Promise((resolve) => {
      for (const client of clients) client.end();
      server.close(() => { resolve(); });
    }),
  };
}

function serveCommand(root: string, command: string, channel: ssh2.ServerChannel): void {
  const [, program, path] = /^(git-upload-pack|git-receive-pack) '\/([\w.-]+)'$/.exec(command) ?? [];
  if (program === undefined || path === undefined) {
    channel.exit(1);
    channel.end();
    return;
  }
  const served = spawn(program, [join(root, path)], { env: { PATH: usualPath, HOME: root } });
  channel.pipe(served.stdin);
  served.stdout.pipe(channel, { end: false });
  served.stderr.pipe(channel.stderr, { end: false });
  served.on('close', (code) => {
    channel.exit(code ?? 1);
    channel.end();
  });
}

async function listen(server: HttpsServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function closed(server: HttpsServer): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => { resolve(); }));
}
