import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { loadSettings, resolveSettings, type SettingsSources } from '../../../src/platform/settings.ts';
import { settingKeys } from '../../../src/platform/settings-keys.ts';
import type { Settings } from '../../../src/platform/settings-schema.ts';
import { temporaryFolder } from '../../support/temp.ts';

let defaults: string;
beforeAll(async () => {
  defaults = await readFile(join(packageRoot(), 'config', 'defaults.yaml'), 'utf8');
});

const resolve = (given: Partial<SettingsSources>): Settings => resolveSettings({ env: {}, flags: {}, file: null, defaults, ...given });
const yaml = (text: string) => ({ name: 'dory.yaml', text });

/** The lines of what is wrong. */
function problems(given: Partial<SettingsSources>): readonly string[] {
  try {
    resolve(given);
  } catch (error) {
    expect(error).toMatchObject({ code: 'settings-invalid' });
    return error instanceof Failure ? error.message.split('\n').slice(1).map((line) => line.trim()) : [];
  }
  return [];
}

test('the defaults are valid and are those of the running system', () => {
  expect(resolve({})).toMatchObject({
    database: { url: null },
    namespace: 'default',
    pollInterval: 10_000,
    logLevel: 'info',
    enableMonitor: false,
    http: { port: 8080 },
    imagePullSecret: 'ecr-registry-secret',
    databaseSecret: 'dory-db-secret',
    databaseSecretKey: 'database-url',
    failover: { heartbeatStale: 60_000, stabilityWindow: 60_000 },
  });
});

test('environment goes over flags, flags over the file, the file over the defaults', () => {
  const file = yaml('pollInterval: 2s');
  const flags = { 'poll-interval': '3s' };
  const env = { DORY_POLL_INTERVAL: '4s' };
  expect(resolve({ file }).pollInterval).toBe(2000);
  expect(resolve({ file, flags }).pollInterval).toBe(3000);
  expect(resolve({ file, flags, env }).pollInterval).toBe(4000);
});

test('KUBECONFIG counts only where nothing else is set', () => {
  const env = { KUBECONFIG: '/env' };
  expect(resolve({ env }).kubeconfig).toBe('/env');
  expect(resolve({ env, file: yaml('kubeconfig: /file') }).kubeconfig).toBe('/file');
  expect(resolve({ env, flags: { kubeconfig: '/flag' } }).kubeconfig).toBe('/flag');
});

test('the names of the running system', () => {
  const variables = new Map(settingKeys.map((key) => [key.variable, key.path]));
  const expected = {
    DORY_DATABASE_URL: 'database.url',
    KUBECONFIG: 'kubeconfig',
    DORY_NAMESPACE: 'namespace',
    DORY_LOG_LEVEL: 'logLevel',
    DORY_STATE_TOKEN: 'stateToken',
    DORY_IMAGE_PULL_SECRET: 'imagePullSecret',
    DORY_DATABASE_SECRET: 'databaseSecret',
    DORY_DATABASE_SECRET_KEY: 'databaseSecretKey',
  };
  expect(Object.fromEntries(Object.keys(expected).map((name) => [name, variables.get(name)]))).toEqual(expected);
  const named = ['config-db', 'kubeconfig', 'namespace', 'poll-interval', 'log-level', 'enable-monitor'];
  expect(settingKeys.filter(({ flag }) => flag !== null && named.includes(flag)).map(({ path }) => path)).toEqual([
    'database.url', 'namespace', 'kubeconfig', 'pollInterval', 'logLevel', 'enableMonitor',
  ]);
});

test('names of variables and flags are unique, and tokens are no flags', () => {
  const variables = settingKeys.map(({ variable }) => variable);
  const flags = settingKeys.flatMap(({ flag }) => flag ?? []);
  expect(new Set(variables).size).toBe(variables.length);
  expect(new Set(flags).size).toBe(flags.length);
  expect(settingKeys.filter(({ flag }) => flag === null).map(({ path }) => path)).toEqual(['argocd.webhookSecret', 'git.token', 'stateToken']);
});

test('texts become what the setting takes', () => {
  const settings = resolve({
    env: { DORY_HTTP_PORT: '0', DORY_MANAGED_POOL_GPU: 'true', DORY_MANAGED_POOL_ARCHITECTURES: 'amd64,arm64', DORY_GIT_TOKEN: '12345', DORY_GIT_USERNAME: '*a' },
    flags: { 'enable-monitor': true, layout: '64' },
    file: yaml('cluster: 7\nmanagedPool: { architectures: [riscv64] }'),
  });
  expect(settings).toMatchObject({
    http: { port: 0 },
    managedPool: { gpu: true, architectures: ['amd64', 'arm64'] },
    git: { token: '12345' },
    enableMonitor: true,
    layout: '64',
    cluster: '7',
  });
});

test('empty variables, empty flags and empty sections set nothing', () => {
  const settings = resolve({ env: { DORY_NAMESPACE: '', KUBECONFIG: '' }, flags: { 'config-db': '' }, file: yaml('git:\nnamespace: plant\n') });
  expect(settings).toMatchObject({ namespace: 'plant', kubeconfig: null, database: { url: null }, git: { branch: 'main' } });
});

test('a file can take back what may be absent', () => {
  expect(resolve({ env: { KUBECONFIG: '/env' }, file: yaml('kubeconfig: null') }).kubeconfig).toBeNull();
});

test("values of the system's manifests pass through", () => {
  expect(resolve({ file: yaml('system: { region: eu-west-1, nodePool: { weight: 20 } }') }).system).toEqual({
    accountId: '<ACCOUNT_ID>', region: 'eu-west-1', nodePool: { weight: 20 },
  });
});

test('everything that is wrong is said at once: key, value, place, mend', () => {
  const lines = problems({
    env: { DORY_HTTP_PORT: '99999', DORY_POL_INTERVAL: '3s', DORY_ORCHESTRATOR_SERVICE_PORT: '80' },
    flags: { 'poll-interval': '3 s' },
    file: yaml('cluster: A_b\ngit:\n  branhc: x\nfailover: 3\ngti: {}\n'),
  });
  expect(lines).toHaveLength(7);
  for (const words of [
    ['DORY_POL_INTERVAL', 'DORY_POLL_INTERVAL'],
    ['cluster', 'dory.yaml', '"A_b"', 'DNS label'],
    ['pollInterval', '--poll-interval', '"3 s"', '1m30s'],
    ['http.port', 'DORY_HTTP_PORT', '99999', '65535'],
    ['git.branhc', 'dory.yaml', 'git.branch'],
    ['failover', 'dory.yaml', 'section'],
    ['gti', 'dory.yaml', 'git'],
  ]) {
    expect(lines.filter((line) => words.every((word) => line.includes(word)))).toHaveLength(1);
  }
});

test('no secret is shown', () => {
  const lines = problems({
    env: { DORY_DATABASE_URL: 'mysql://u:hunter2@h/d', DORY_GIT_URL: 'https://u:hunter2@h/x' },
    file: yaml('stateToken: [hunter2]\ngit: { token: { hunter2: 1 } }'),
  });
  expect(lines).toHaveLength(4);
  expect(lines.join()).not.toContain('hunter2');
});

test.each([
  ['git: { token: a, tokenFile: b }', 'git.tokenFile'],
  ['git: { token: a, url: "http://git.example/x" }', 'git.url'],
  ['failover: { heartbeatGap: 2m }', 'failover: heartbeatGap'],
  ['failover: { intakeFresh: 60s }', 'failover: intakeFresh'],
  ['failover: { stabilityWindow: 5h }', 'failover: stabilityWindow'],
  ['failover: { heartbeatStale: 14s, heartbeatGap: 10s, intakeFresh: 5s }', 'failover: heartbeatStale'],
  ['heartbeats: { interval: 15s }\nfailover: { unfenced: hold }', 'failover: lease'],
  ['failover: { lease: 14s }', 'failover: lease'],
  ['failover: { failback: window }', 'failover: failback'],
  ['failover: { failbackWindow: 02:00-02:00 }', 'failover: failbackWindow'],
  ['policies: [{ match: template/camera, failback: window }]', 'policies, template/camera: failback'],
  ['failover: { heartbeatStale: 14s, heartbeatGap: 10s, intakeFresh: 5s, unfenced: hold }\npolicies: [{ match: template/camera, unfenced: replace }]', 'policies, template/camera: heartbeatStale'],
])('%s do not go together', (text, key) => {
  const lines = problems({ file: yaml(text) });
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain(key);
});

test.each([
  'failover: { heartbeatStale: 14s, heartbeatGap: 10s, intakeFresh: 5s, unfenced: hold }',
  'failover: { failback: window, failbackWindow: 22:00-04:00 }\npolicies: [{ match: template/camera, failback: window }]',
  'policies: [{ match: template/camera, failback: window, failbackWindow: 02:00-04:00 }, { match: template/lidar, failback: manual }]',
])('%s goes together', (text) => {
  expect(problems({ file: yaml(text) })).toEqual([]);
});

test('a token may travel over http on this machine', () => {
  expect(problems({ file: yaml('git: { token: a, url: "http://127.0.0.1:8000/x" }') })).toEqual([]);
});

test.each(['../fleet.git', '/srv/fleet.git', 'file:///srv/fleet.git', 'https://git.example/fleet.git', 'ssh://git@git.example:22/fleet.git', 'git@git.example:fleet.git'])(
  'git.url takes %s', (url) => {
    expect(resolve({ env: { DORY_GIT_URL: url } }).git.url).toBe(url);
  },
);

test.each(['--upload-pack=x', 'ext::sh -c x', 'git://git.example/x', 'https://u@git.example/x', 'ssh://git:secret@git.example/x', 'C:/x'])(
  'git.url refuses %s', (url) => {
    expect(problems({ env: { DORY_GIT_URL: url } })).toHaveLength(1);
  },
);

test.each(['-x', 'a..b', 'a//b', 'a/', 'a.lock', 'a.lock/b', 'a b', '/a', 'a/.b', 'a~1', 'a.'])('git.branch refuses %s', (branch) => {
  expect(problems({ env: { DORY_GIT_BRANCH: branch } })).toHaveLength(1);
});

test.each(["http: { port: '' }", 'managedPool: { gpu: 1 }', 'pollInterval: 10'])('%s is wrong', (text) => {
  expect(problems({ file: yaml(text) })).toHaveLength(1);
});

test.each(['- a list', '"text"', 'a: [', 'a: 1\na: 2', 'a: *b'])('a file that holds no settings is refused: %j', (text) => {
  expect(() => resolve({ file: yaml(text) })).toThrow(expect.objectContaining({ code: 'settings-invalid' }) as Error);
});

test('a file that is no YAML is named with the line, and not quoted', () => {
  try {
    resolve({ file: yaml('git:\n  token: hunter2: x\n') });
    expect.unreachable();
  } catch (error) {
    expect(String(error)).toContain('dory.yaml:2');
    expect(String(error)).not.toContain('hunter2');
  }
});

test('an empty file is one', () => {
  expect(resolve({ file: yaml('# nothing yet\n') })).toEqual(resolve({}));
});

test('the file is named by flag or variable', async () => {
  const folder = await temporaryFolder();
  try {
    const path = join(folder.path, 'dory.yaml');
    await writeFile(path, 'namespace: plant');
    expect((await loadSettings({ env: {}, flags: { config: path } })).namespace).toBe('plant');
    expect((await loadSettings({ env: { DORY_CONFIG: path }, flags: {} })).namespace).toBe('plant');
    await expect(loadSettings({ env: {}, flags: { config: `${path}.gone` } })).rejects.toMatchObject({ code: 'settings-invalid' });
  } finally {
    await folder.remove();
  }
});
