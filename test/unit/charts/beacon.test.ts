import { spawn } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defaultSystemProps, systemProps, type SystemProps } from '../../../charts-ts/system/index.ts';
import { parseBeat } from '../../../src/http/heartbeat.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { until } from '../../support/until.ts';
import { at, find, systemObjects } from './objects.ts';

const { shared } = defaultSystemProps;
const withBeacon = (beacon: object): SystemProps => systemProps({ beacon: { enabled: true, ...beacon } }, shared);
const podOf = (props: SystemProps): unknown => at(find(systemObjects(props), 'DaemonSet', 'dory-beacon'), 'spec.template.spec');
const containerOf = (props: SystemProps): unknown => at(podOf(props), 'containers.0');

test('there is none unless it is switched on', () => {
  expect(systemObjects(defaultSystemProps).some(({ kind }) => kind === 'DaemonSet')).toBe(false);
});

test('one on each edge node, however tainted, with no right to anything', () => {
  const pod = podOf(withBeacon({}));
  expect(at(pod, 'nodeSelector')).toEqual({ 'node-type': 'edge' });
  expect(at(pod, 'tolerations')).toEqual([{ operator: 'Exists' }]);
  expect(at(pod, 'automountServiceAccountToken')).toBe(false);
  expect(at(pod, 'securityContext')).toMatchObject({ runAsNonRoot: true, runAsUser: 65534 });
  expect(at(pod, 'containers.0.securityContext')).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
  expect(at(pod, 'volumes')).toBeUndefined();
});

/** The container's own script and environment, with a program in the place of `wget` that writes down what it is given. */
async function firstBeat(props: SystemProps): Promise<readonly string[]> {
  const folder = await temporaryFolder();
  try {
    await mkdir(join(folder.path, 'token'));
    await writeFile(join(folder.path, 'token', 'token'), 'dory_node_secret\n');
    await writeFile(join(folder.path, 'wget'), '#!/bin/sh\nfor each; do echo "$each"; done > "$HOME/beat.part"\nmv "$HOME/beat.part" "$HOME/beat"\n');
    await chmod(join(folder.path, 'wget'), 0o755);
    const [shell = '', flag = '', script = ''] = at(containerOf(props), 'command') as string[];
    const url = (at(containerOf(props), 'env') as { name: string; value?: string }[]).find(({ name }) => name === 'URL')?.value;
    const env = { NODE_NAME: 'edge-1', URL: url, HOME: folder.path, PATH: `${folder.path}:/usr/bin:/bin` };
    const child = spawn(shell, [flag, script.replaceAll('/etc/dory-beacon', join(folder.path, 'token'))], { env, stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const beat = (): Promise<string | null> => readFile(join(folder.path, 'beat'), 'utf8').catch(() => null);
    await until(async () => (await beat()) !== null, 'a beat was sent');
    child.kill('SIGTERM');
    // At once, not after its pause.
    expect(await ended).toBe(0);
    return (await beat())?.trimEnd().split('\n') ?? [];
  } finally {
    await folder.remove();
  }
}

test('sends what the orchestrator reads as the heartbeat of a node, to its Service', async () => {
  const beat = await firstBeat(withBeacon({}));
  expect(beat.at(-1)).toBe('http://dory-orchestrator-metrics.dory-system.svc.cluster.local:8080/api/v1/edge/heartbeat');
  const body = beat[beat.indexOf('--post-data') + 1] ?? '';
  expect(parseBeat(JSON.parse(body))).toMatchObject({ ok: true, value: { subject: { kind: 'node' }, nodeName: 'edge-1', status: 'healthy' } });
  expect(beat.join()).not.toContain('Authorization');
});

test('with a token where one is asked for, elsewhere where it is told to', async () => {
  const beat = await firstBeat(withBeacon({ url: 'https://dory.example.com', tokenFolder: '/var/lib/dory' }));
  expect(beat).toContain('Authorization: Bearer dory_node_secret');
  expect(beat.at(-1)).toBe('https://dory.example.com/api/v1/edge/heartbeat');
  const pod = podOf(withBeacon({ tokenFolder: '/var/lib/dory' }));
  // Its own node's alone.
  expect(at(pod, 'volumes')).toEqual([{ name: 'token', hostPath: { path: '/var/lib/dory', type: 'Directory' } }]);
  expect(at(pod, 'containers.0.volumeMounts')).toEqual([{ name: 'token', mountPath: '/etc/dory-beacon', readOnly: true }]);
});

test.each(['etc/dory', '/', '/etc/../root', '/etc/dory/', ''])('a token is not looked for in %j', (tokenFolder) => {
  expect(() => withBeacon({ tokenFolder })).toThrow(/beacon\.tokenFolder/);
});
