import { describe, expect, test } from 'vitest';
import { argocdFiles, processorFolders, type ArgocdProps } from '../../../charts-ts/argocd/index.ts';
import { processorSupportFiles, systemFiles, systemProps, defaultSystemProps } from '../../../charts-ts/system/index.ts';
import { argocdProps } from '../../../src/cli/argocd-settings.ts';
import { leavesOf } from '../../../src/render/layout.ts';
import type { Layout } from '../../../src/model/tree.ts';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { resolveSettings } from '../../../src/platform/settings.ts';
import { at, find, objectsOf, type KubernetesObject } from './objects.ts';

const props: ArgocdProps = {
  cluster: 'north', repoUrl: 'https://git.example.com/fleet.git', revision: 'refs/heads/main', namespace: 'argocd', project: 'dory-north',
  destination: 'https://kubernetes.default.svc', namespaces: ['default', 'plant-*'],
};
const support = processorSupportFiles(['default']);
const objects = (changes: Partial<ArgocdProps> = {}, layout: Layout = 'flat', system = support): readonly KubernetesObject[] =>
  objectsOf(argocdFiles({ ...props, ...changes }, { layout, systemFiles: system }));

describe('the Applications', () => {
  test.each(['flat', '64', '64x16'] as const)('cover each folder of processors exactly once: %s', (layout) => {
    const folders = processorFolders(props, layout).map(({ path }) => path);
    for (const leaf of leavesOf({ cluster: 'north', layout })) {
      expect(folders.filter((path) => leaf === path || leaf.startsWith(`${path}/`))).toHaveLength(1);
    }
    expect(folders).toHaveLength(layout === 'flat' ? 1 : 64);
  });

  test('sync by themselves, prune in the background, and go on with the newest commit', () => {
    const policy = at(find(objects(), 'Application', 'dory-north-processors'), 'spec.syncPolicy');
    expect(at(policy, 'automated')).toEqual({ prune: true, selfHeal: true, allowEmpty: true });
    expect(at(policy, 'syncOptions')).toEqual(expect.arrayContaining(['ServerSideApply=true', 'PrunePropagationPolicy=background', 'ApplyOutOfSyncOnly=true']));
    expect(at(policy, 'retry')).toMatchObject({ limit: -1, refresh: true });
  });

  test('never prune the system, which comes and goes with its settings', () => {
    expect(at(find(objects(), 'Application', 'dory-north-system'), 'spec.syncPolicy.automated.prune')).toBe(false);
  });

  test('leave what runs when they are deleted, and are found by their label', () => {
    for (const { kind, metadata } of objects()) {
      expect(metadata).not.toHaveProperty('finalizers');
      expect(metadata.labels).toMatchObject({ 'dory.io/cluster': 'north' });
      expect(metadata.namespace).toBe('argocd');
      if (kind === 'Application') expect(metadata.annotations).toMatchObject({ 'argocd.argoproj.io/manifest-generate-paths': '.' });
    }
  });

  test('go to a cluster by its URL or by its name', () => {
    const all = { namespaces: ['*'] };
    expect(at(find(objects(all), 'Application', 'dory-north-system'), 'spec.destination')).toEqual({ server: 'https://kubernetes.default.svc' });
    expect(at(find(objects({ ...all, destination: 'north-1' }), 'Application', 'dory-north-system'), 'spec.destination')).toEqual({ name: 'north-1' });
  });

  test.each([
    [['*'], undefined], [['!kube-system', '*'], undefined], [['plant-*', 'default'], 'default'], [['plant-*', 'yard-?'], 'plant-x'], [['!plant-1', 'plant-?'], 'plant-x'], [['[!a]*'], undefined],
  ])('where a project allows %j, name the namespace %s', (namespaces, namespace) => {
    expect((at(find(objects({ namespaces }), 'Application', 'dory-north-processors'), 'spec.destination') as { namespace?: string }).namespace).toBe(namespace);
  });
});

describe('the projects', () => {
  test('allow processors their StatefulSets in the namespaces of the settings, and nothing else', () => {
    const spec = at(find(objects(), 'AppProject', 'dory-north'), 'spec') as Record<string, unknown>;
    expect(spec).toMatchObject({ sourceRepos: [props.repoUrl], clusterResourceWhitelist: [], namespaceResourceWhitelist: [{ group: 'apps', kind: 'StatefulSet' }] });
    expect(at(spec, 'destinations')).toEqual(['default', 'plant-*'].map((namespace) => ({ namespace, server: props.destination })));
  });

  test.each([
    ['what processors need', support],
    ['the whole system', systemFiles(defaultSystemProps, ['default'])],
    ['all that it can have', systemFiles(systemProps({ apply: 'ssa', replicas: 3, beacon: { enabled: true }, monitoring: { rules: 'prometheusRule' } }, defaultSystemProps.shared), ['default'])],
  ])('allow the system exactly what is in the repository: %s', (_, system) => {
    const spec = at(find(objects({}, 'flat', system), 'AppProject', 'dory-north-system'), 'spec');
    const allowed = (list: string): readonly string[] => (at(spec, list) as { group: string; kind: string }[]).map(({ group, kind }) => `${group}/${kind}`);
    const held = objectsOf(system).map(({ apiVersion, kind, metadata: { namespace } }) => ({ key: `${apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : ''}/${kind}`, namespace }));
    const keys = (namespaced: boolean): readonly string[] => [...new Set(held.filter(({ namespace }) => (namespace !== undefined) === namespaced).map(({ key }) => key))].sort();
    expect(allowed('clusterResourceWhitelist')).toEqual(keys(false));
    expect(allowed('namespaceResourceWhitelist')).toEqual(keys(true));
    const destinations = (at(spec, 'destinations') as { namespace: string }[]).map(({ namespace }) => namespace);
    for (const { namespace } of held) if (namespace !== undefined) expect(destinations).toContain(namespace);
  });

  test('stay as they are when a namespace comes into use', () => {
    const all = { namespaces: ['*'] };
    expect(objects(all, 'flat', processorSupportFiles(['default', 'yard']))).toEqual(objects(all));
  });
});

const defaults = readFileSync(join(packageRoot(), 'config', 'defaults.yaml'), 'utf8');

test('what is committed under generated/ is what is rendered now', () => {
  const settings = resolveSettings({ env: {}, flags: { cluster: 'example', apply: 'argocd', 'argocd-repo-url': 'https://git.example.com/fleet.git' }, file: null, defaults });
  const files = argocdFiles(argocdProps(settings) ?? props, { layout: 'flat', systemFiles: systemFiles(systemProps(settings.system, settings), ['default']) });
  for (const [name, text] of files) expect(readFileSync(join(packageRoot(), 'generated/clusters/example/argocd', name), 'utf8')).toBe(text);
});

describe('the settings', () => {
  const from = (flags: Readonly<Record<string, string>>): ArgocdProps | null => argocdProps(resolveSettings({ env: {}, flags, file: null, defaults }));

  test('make Applications only where Argo CD applies', () => {
    expect(from({ 'git-url': 'https://git.example.com/fleet.git' })).toBeNull();
    expect(from({ apply: 'argocd', 'git-url': 'ssh://git@git.example.com/fleet.git', cluster: 'north' })).toEqual({
      ...props, repoUrl: 'ssh://git@git.example.com/fleet.git', namespaces: ['*'],
    });
    expect(from({ apply: 'argocd', 'git-url': '/srv/fleet.git', 'argocd-repo-url': 'git@git.example.com:org/fleet.git', 'argocd-revision': 'v1', 'argocd-namespaces': 'a,b-*' })).toMatchObject({
      repoUrl: 'git@git.example.com:org/fleet.git', revision: 'v1', namespaces: ['a', 'b-*'],
    });
  });

  test('that can only fail are refused', () => {
    const good = { apply: 'argocd', 'git-url': 'https://git.example.com/fleet.git' };
    for (const flags of [
      { ...good, 'argocd-notify': 'webhook' },
      { ...good, 'argocd-notify': 'webhook', 'argocd-webhook-url': 'https://argocd.example.com/api/webhook' },
      { 'argocd-webhook-url': 'https://user:password@argocd.example.com/' },
      { 'argocd-repo-url': 'https://user:password@git.example.com/fleet.git' },
      { 'argocd-namespaces': 'A' },
    ]) expect(() => from(flags)).toThrow(expect.objectContaining({ code: 'settings-invalid' }));
  });

  test.each([{}, { 'git-url': '/srv/fleet.git' }, { 'git-url': 'file:///srv/fleet.git' }])('without an address by which Argo CD reaches the repository are refused: %j', (flags) => {
    expect(() => from({ ...flags, apply: 'argocd' })).toThrow(/argocd\.repoUrl/);
    expect(() => from({ ...flags, apply: 'ssa' })).not.toThrow();
    expect(from({ ...flags, apply: 'argocd', 'argocd-repo-url': 'git@git.example.com:fleet.git' })?.repoUrl).toBe('git@git.example.com:fleet.git');
  });
});
