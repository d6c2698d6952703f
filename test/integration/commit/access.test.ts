import { execFile } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect, promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openRepository } from '../../../src/commit/repository.ts';
import type { GitAuth, GitSettings } from '../../../src/commit/settings.ts';
import type { Failure } from '../../../src/model/failure.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, hurryingClock } from '../../support/clock.ts';
import { git, gitWorld, httpsGitServer, request, sshGitServer, sshKey, type GitWorld, type HttpsGitServer } from '../../support/git.ts';

let world: GitWorld;
const closing: (() => Promise<void>)[] = [];
beforeEach(async () => {
  world = await gitWorld();
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await world.close();
});

const refused = expect.objectContaining({ name: 'Failure', code: 'git-refused' }) as Failure;

describe('https', () => {
  const token = 'tok-4f9c"\\s3cr3t';
  let server: HttpsGitServer;
  beforeEach(async () => {
    await git(world.remote, 'config', 'http.receivepack', 'true');
    server = await httpsGitServer(world.folder, 'robot', token);
    closing.push(server.close);
  });
  const auth = (value: string): GitAuth => ({ kind: 'token', username: 'robot', token: () => Promise.resolve(value) });
  const settings = (value: string): Partial<GitSettings> => ({ url: server.url, caFile: server.caFile, auth: auth(value) });

  test('with the right token reads and writes', async () => {
    const repository = world.open(settings(token));
    expect(await repository.publish(request(1, { a: '1' }))).toMatchObject({ kind: 'pushed' });
    expect(await repository.publish(request(2, { a: '2' }))).toMatchObject({ kind: 'pushed' });
    expect((await repository.head()).revision).toBe(2);
  });

  test('with another token is refused, and the token is told to nobody', async () => {
    const wrong = 'wrong-7c1d5ecret';
    const failure = await world.open(settings(wrong)).publish(request(1, { a: '1' })).catch((error: unknown) => error);
    expect(failure).toEqual(refused);
    expect((failure as Failure).mend).toContain('git.token');
    for (let cause: unknown = failure; cause instanceof Error; cause = cause.cause) {
      const told = inspect(cause, { depth: 10 }) + JSON.stringify([cause.message, cause.stack, cause]);
      expect(told).not.toContain(wrong);
      expect(told).not.toContain(Buffer.from(`robot:${wrong}`).toString('base64'));
    }
  });

  test('takes up a token that was rotated', async () => {
    let current = 'old';
    const repository = world.open({ ...settings(''), auth: { kind: 'token', username: 'robot', token: () => Promise.resolve(current) } });
    await expect(repository.head()).rejects.toEqual(refused);
    current = token;
    expect(await repository.head()).toMatchObject({ commit: null });
  });

  test('keeps the token out of arguments, environments and the configuration that others may read', async () => {
    const secrets = [token, Buffer.from(`robot:${token}`).toString('base64')];
    const processes: string[] = [];
    const watching = watchProcesses(processes);
    const repository = world.open(settings(token));
    await repository.publish(request(1, { a: '1' }));
    await repository.head();
    await watching.stop();
    expect(processes.some((text) => text.includes('remote-https'))).toBe(true);
    for (const secret of secrets) expect(processes.filter((text) => text.includes(secret))).toEqual([]);

    const files = await filesWith(join(world.folder, 'data'), secrets);
    expect(files.map(({ mode }) => mode)).toEqual([0o600]);
    await repository.close();
    expect(await filesWith(join(world.folder, 'data'), secrets)).toEqual([]);
  });

  test('does not trust a certificate that nobody vouched for', async () => {
    const failure = await world.open({ ...settings(token), caFile: null }).head().catch((error: unknown) => error);
    expect(failure).toEqual(refused);
    expect((failure as Failure).mend).toContain('git.caFile');
    expect(server.seen).toEqual([]);
  });
});

describe('ssh', () => {
  test('with the right key and a known host reads and writes', async () => {
    const key = await sshKey(world.folder, 'user key');
    const server = await sshGitServer(world.folder, key);
    closing.push(server.close);
    const knownHostsFile = join(world.folder, 'known hosts');
    await writeFile(knownHostsFile, server.knownHosts);
    const repository = world.open({ url: server.url, auth: { kind: 'ssh', keyFile: key.file, knownHostsFile } });
    expect(await repository.publish(request(1, { a: '1' }))).toMatchObject({ kind: 'pushed' });
    expect((await repository.head()).revision).toBe(1);
  });

  test('with another key, or a host that is not the known one, is refused', async () => {
    const [key, other] = [await sshKey(world.folder, 'key'), await sshKey(world.folder, 'other')];
    const server = await sshGitServer(world.folder, key);
    closing.push(server.close);
    const known = join(world.folder, 'known');
    await writeFile(known, server.knownHosts);
    const withOther = await world.open({ url: server.url, auth: { kind: 'ssh', keyFile: other.file, knownHostsFile: known } }).head().catch((error: unknown) => error);
    expect(withOther).toEqual(refused);
    expect((withOther as Failure).mend).toContain('git.sshKeyFile');

    await writeFile(known, `[127.0.0.1]:${String(server.port)} ${other.publicKey}\n`);
    const atOther = await world.open({ url: server.url, auth: { kind: 'ssh', keyFile: key.file, knownHostsFile: known } }).head().catch((error: unknown) => error);
    expect(atOther).toEqual(refused);
    expect((atOther as Failure).mend).toContain('git.sshKnownHostsFile');

    await writeFile(known, '');
    await expect(world.open({ url: server.url, auth: { kind: 'ssh', keyFile: key.file, knownHostsFile: known } }).head()).rejects.toEqual(refused);
  });

  test('to a host that is not there is unreachable', async () => {
    const key = await sshKey(world.folder, 'key');
    const server = await sshGitServer(world.folder, key);
    await server.close();
    await expect(world.open({ url: server.url, auth: { kind: 'ssh', keyFile: key.file, knownHostsFile: null } }).head()).rejects.toMatchObject({ code: 'git-unreachable' });
  });
});

describe('a file URL', () => {
  test('is as good as a path', async () => {
    expect(await world.open({ url: `file://${world.remote}` }).publish(request(1, { a: '1' }))).toMatchObject({ kind: 'pushed' });
  });
});

describe('signatures', () => {
  test('verify with git log, and the same decision has the same signed commit', async () => {
    const key = await sshKey(world.folder, 'signing');
    const signers = join(world.folder, 'signers');
    await writeFile(signers, `dory@localhost ${key.publicKey}\n`);
    const repository = world.open({ signingKeyFile: key.file });
    await repository.publish(request(1, { a: '1' }));
    const second = await repository.publish(request(2, { a: '2' }));
    const shown = await git(world.remote, '-c', `gpg.ssh.allowedSignersFile=${signers}`, 'log', '--format=%G? %GS %s', 'main');
    expect(shown).toBe('G dory@localhost place: 1 processor\nG dory@localhost place: 1 processor');
    expect(await git(world.remote, 'log', '-1', '--format=%at %an %B', 'main')).toBe('1790000002 dory place: 1 processor\n\nDory-Cluster: alpha\nDory-Revision: 2');

    await git(world.remote, 'update-ref', 'refs/heads/main', 'main~1');
    expect(await world.open({ signingKeyFile: key.file, dataDir: join(world.folder, 'twin') }).publish(request(2, { a: '2' }))).toMatchObject({ commit: second.kind === 'pushed' ? second.commit : '' });
  });

  test('with a key that is none are refused, and the clone is kept', async () => {
    const file = join(world.folder, 'no-key');
    await writeFile(file, 'no key', { mode: 0o600 });
    const failure = await world.open({ signingKeyFile: file }).publish(request(1, { a: '1' })).catch((error: unknown) => error);
    expect(failure).toEqual(refused);
    expect((failure as Failure).mend).toContain('git.signingKeyFile');
  });
});

test('without git on the machine one is told so', async () => {
  const repository = openRepository(world.settings({ path: join(world.folder, 'empty') }), { clock: hurryingClock(), random: fixedRandom(0), log: silentLog });
  await expect(repository.head()).rejects.toMatchObject({ code: 'git-missing' });
});

/** Collects, for every process of ours, its arguments and environment, as `ps e` would show them. */
function watchProcesses(found: string[]): { readonly stop: () => Promise<void> } {
  let on = true;
  const scan = async (): Promise<void> => {
    while (on) {
      for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) > process.pid)) {
        for (const name of ['cmdline', 'environ']) found.push(await readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => ''));
      }
    }
  };
  const scanning = scan();
  return {
    stop: () => {
      on = false;
      return scanning;
    },
  };
}

async function filesWith(folder: string, secrets: readonly string[]): Promise<readonly { readonly file: string; readonly mode: number }[]> {
  const pattern = secrets.flatMap((secret) => ['-e', secret]);
  const { stdout } = await promisify(execFile)('grep', ['-rlF', ...pattern, folder]).catch(() => ({ stdout: '' }));
  return Promise.all(stdout.split('\n').filter((file) => file !== '').map(async (file) => ({ file, mode: (await stat(file)).mode & 0o777 })));
}
