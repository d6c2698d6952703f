import { describe, expect, test } from 'vitest';
import { createDesiredReader, type CommittedTrees } from '../../../src/apply/desired.ts';
import { Failure } from '../../../src/model/failure.ts';
import type { RevisionId } from '../../../src/model/ids.ts';
import { blobName } from '../../../src/platform/digest.ts';

const set = (name: string, more = ''): string => `apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  annotations:\n    dory.io/epoch: "2"\n    dory.io/revision: "7"\n  labels:\n    processor-id: 429730b6-89c9-88e8-af42-3a2b9a50d41c\n  name: ${name}\n  namespace: harbor\nspec:\n  replicas: 1\n${more}`;

/** A branch of which a commit can be replaced; `reads` counts the blobs that were asked for. */
function branch(first: Readonly<Record<string, string>>): { readonly trees: CommittedTrees; readonly commit: (files: Readonly<Record<string, string>>) => void; readonly reads: () => number } {
  let [files, commits, reads] = [first, 1, 0];
  const contents = new Map<string, string>();
  const blobs = (): readonly (readonly [string, string])[] => Object.entries(files).map(([path, text]) => {
    const blob = blobName(Buffer.from(text));
    contents.set(blob, text);
    return [path, blob] as const;
  });
  return {
    trees: {
      newest: () => Promise.resolve({ commit: `c${String(commits)}`, revision: commits as RevisionId, files: new Map(blobs()) }),
      blobs: (names) => {
        reads += names.length;
        return Promise.resolve(names.map((name) => Buffer.from(contents.get(name) ?? '')));
      },
    },
    commit: (more) => {
      files = more;
      commits += 1;
    },
    reads: () => reads,
  };
}

const reader = (trees: CommittedTrees, system = false) => createDesiredReader(trees, { folder: 'clusters/a/', system });
const keys = async (trees: CommittedTrees, system = false): Promise<readonly string[]> => [...((await reader(trees, system).newest())?.objects.keys() ?? [])];
const codeOf = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => 'read', (error: unknown) => (error instanceof Failure ? error.code : error));

describe('the committed tree', () => {
  test('is what lies in processors/, and in system/ where that is asked for; never what is Argo CD\'s, another cluster\'s or no manifest', async () => {
    const { trees } = branch({
      'clusters/a/processors/1f/one.yaml': set('one'), 'clusters/a/system/access.yaml': 'apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: a\n  namespace: b\n',
      'clusters/a/argocd/application.yaml': 'apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: a\n  namespace: argocd\n',
      'clusters/a/.dory/owner.json': '{}', 'clusters/a/processors/1f/placements.tsv': 'name\ttarget\n', 'clusters/b/processors/two.yaml': set('two'),
    });
    expect(await keys(trees)).toEqual(['apps/v1/StatefulSet/harbor/one']);
    expect(await keys(trees, true)).toEqual(['apps/v1/StatefulSet/harbor/one', 'v1/ServiceAccount/b/a']);
  });

  test('of a new commit only the files that changed are read, and the same commit is the same value', async () => {
    const { trees, commit, reads } = branch({ 'clusters/a/processors/one.yaml': set('one'), 'clusters/a/processors/two.yaml': set('two') });
    const desired = reader(trees);
    const first = await desired.newest();
    expect([await desired.newest() === first, reads()]).toEqual([true, 2]);
    commit({ 'clusters/a/processors/one.yaml': set('one'), 'clusters/a/processors/three.yaml': set('three') });
    expect([...((await desired.newest())?.objects.keys() ?? [])]).toEqual(['apps/v1/StatefulSet/harbor/one', 'apps/v1/StatefulSet/harbor/three']);
    expect(reads()).toBe(3);
  });

  test('has each document of a file, and gives each back byte for byte', async () => {
    const text = `${set('one')}---\n# nothing\n---\n${set('two', '  # ours\n')}`;
    const { trees } = branch({ 'clusters/a/processors/one.yaml': text });
    const desired = reader(trees);
    const entries = [...((await desired.newest())?.objects.values() ?? [])];
    expect(entries.map(({ ref, epoch, revision, processorId }) => [ref.name, epoch, revision, processorId])).toEqual([['one', 2, 7, '429730b6-89c9-88e8-af42-3a2b9a50d41c'], ['two', 2, 7, '429730b6-89c9-88e8-af42-3a2b9a50d41c']]);
    expect((await desired.load(entries)).map(({ yaml }) => yaml)).toEqual([set('one'), set('two', '  # ours\n')]);
  });

  test('is refused, with the file, where two documents name one object, or one names none', async () => {
    const twice = branch({ 'clusters/a/processors/one.yaml': set('one'), 'clusters/a/processors/two.yaml': set('one', '  # b\n') });
    expect(await codeOf(reader(twice.trees).newest())).toBe('render-invalid');
    const nameless = branch({ 'clusters/a/processors/one.yaml': 'apiVersion: v1\nkind: ConfigMap\n' });
    await expect(reader(nameless.trees).newest()).rejects.toThrow('clusters/a/processors/one.yaml');
  });
});
