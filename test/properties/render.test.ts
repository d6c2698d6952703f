import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { ProcessorId, RevisionId } from '../../src/model/ids.ts';
import type { ManifestInput } from '../../src/model/placement.ts';
import { instant } from '../../src/model/time.ts';
import type { FileChange, Layout } from '../../src/model/tree.ts';
import { blobName } from '../../src/platform/digest.ts';
import { summarize } from '../../src/render/change.ts';
import { renderWithCdk8s } from '../../src/render/props.ts';
import { emptyRenderState, render, type RenderDelta, type RenderState } from '../../src/render/render.ts';
import type { RenderSettings } from '../../src/render/settings.ts';
import { treeDigest } from '../../src/render/tree.ts';
import { fleet, manifestInput, manifestText, workload } from '../support/arbitrary-fleet.ts';

const settings: RenderSettings = {
  cluster: 'test',
  owner: '00000000-0000-4000-8000-000000000000',
  layout: 'flat',
  imagePullSecret: 'ecr-registry-secret',
  orchestratorUrl: 'http://dory.dory-system.svc:8080',
  supportFiles: (namespaces) => new Map(namespaces.map((namespace) => [`${namespace}.yaml`, `${namespace}\n`])),
  argocdFiles: null,
};

const layouts: readonly Layout[] = ['flat', '64', '64x16'];
/** Without Argo CD, and with it. */
const argocd: readonly RenderSettings['argocdFiles'][] = [null, (layout, systemFiles) => new Map([['applications.yaml', `${layout} ${String(systemFiles.size)}\n`]])];

function delta(changed: readonly ManifestInput[], removed: readonly ProcessorId[] = [], revision = 1): RenderDelta {
  const head = { revision: revision as RevisionId, trigger: 'first-placement', decidedAt: instant(0) };
  return { revision: head.revision, changed, removed, change: summarize(head, []) };
}

const text = (file: FileChange): string => Buffer.from(file.content ?? []).toString();

/** The bytes of a tree, gathered from the changes that led to it. */
function apply(files: ReadonlyMap<string, string>, changes: readonly FileChange[]): ReadonlyMap<string, string> {
  const after = new Map(files);
  for (const file of changes) {
    if (file.content === null) after.delete(file.path);
    else after.set(file.path, text(file));
  }
  return after;
}

describe('a stamped manifest', () => {
  test("is cdk8s's own, byte for byte, whatever the rows say", () => {
    fc.assert(fc.property(fleet(4), (inputs) => {
      const { files } = render(emptyRenderState(settings), delta(inputs));
      const printed = new Set(inputs.map((input) => renderWithCdk8s(input, settings)));
      const stamped = files.filter(({ path }) => path.includes('/processors/') && path.endsWith('.yaml')).map(text);
      expect(new Set(stamped)).toEqual(printed);
      expect(stamped).toHaveLength(inputs.length);
    }), { numRuns: 80 });
  });

  test('reads back as it was meant', () => {
    const withSetting = fc.tuple(workload(), manifestText()).chain(([each, value]) =>
      manifestInput([each]).map((input) => ({ value, input: { ...input, spec: { ...input.spec, sensor: { id: 's' as never, type: 't', env: [{ name: 'SENSOR_X', value }] } } } })));
    fc.assert(fc.property(withSetting, ({ value, input }) => {
      const { files } = render(emptyRenderState({ ...settings, orchestratorUrl: null }), delta([input]));
      const object = parse(text(files.find(({ path }) => path.includes('/processors/') && path.endsWith('.yaml'))!), { version: '1.1' }) as {
        metadata: { namespace: string; annotations: Record<string, string> };
        spec: { template: { spec: { containers: [{ env: { name: string; value?: string }[]; args?: string[] }] } } };
      };
      const [container] = object.spec.template.spec.containers;
      expect(object.metadata.namespace).toBe(input.spec.namespace);
      expect(object.metadata.annotations).toMatchObject({ 'dory.io/epoch': String(input.placement.epoch), 'dory.io/version': input.workload.version });
      expect(container.args ?? []).toEqual(input.workload.args);
      expect(expand(container.env.find(({ name }) => name === 'SENSOR_X')?.value ?? '')).toBe(value);
      expect(new Set(container.env.map(({ name }) => name)).size).toBe(container.env.length);
    }), { numRuns: 60 });
  });
});

/** What the kubelet makes of a value whose references are all unknown to it: these it leaves as they are. */
function expand(value: string): string {
  return value.replace(/\$\$/g, '$');
}

describe('a tree', () => {
  const steps = fc.tuple(fleet(6), fc.constantFrom(...layouts), fc.constantFrom(...argocd)).chain(([rows, layout, argocdFiles]) =>
    fc.record({
      rows: fc.constant(rows),
      its: fc.constant({ ...settings, layout, argocdFiles }),
      // Each step: some rows as they will be, some of them first in another form or gone again.
      order: fc.shuffledSubarray([...rows.keys()], { minLength: rows.length }),
      detours: fc.array(fc.tuple(fc.nat(), fc.constantFrom('remove', 'epoch', 'slug', 'namespace')), { maxLength: 5 }),
    }));

  test('is the same by any sequence of increments as from nothing', () => {
    fc.assert(fc.property(steps, ({ rows, its, order, detours }) => {
      const whole = render(emptyRenderState(its), delta(rows, [], 99));
      let state: RenderState = emptyRenderState(its);
      let bytes: ReadonlyMap<string, string> = new Map();
      let revision = 0;
      let digest = '';
      const go = (changed: readonly ManifestInput[], removed: readonly ProcessorId[] = []): void => {
        const rendered = render(state, delta(changed, removed, (revision += 1)));
        bytes = apply(bytes, rendered.files);
        state = rendered.state;
        digest = rendered.tree.digest;
      };
      for (const i of order) go([rows[i]!]);
      for (const [n, kind] of rows.length === 0 ? [] : detours) {
        const row = rows[n % rows.length]!;
        go(kind === 'remove' ? [] : [detour(row, kind)], kind === 'remove' ? [row.spec.id] : []);
      }
      revision = 98;
      go(rows);
      expect(bytes).toEqual(apply(new Map(), whole.files));
      expect(state.files).toEqual(whole.state.files);
      expect(state.namespaces).toEqual(whole.state.namespaces);
      expect(digest).toBe(whole.tree.digest);
    }), { numRuns: 20 });
  });

  test('does not depend on the order of rows', () => {
    fc.assert(fc.property(steps, ({ rows, its, order }) => {
      const from = (inputs: readonly ManifestInput[]) => render(emptyRenderState(its), delta(inputs));
      const [one, other] = [from(rows), from(order.map((i) => rows[i]!))];
      expect(other.files.map((file) => [file.path, file.blob])).toEqual(one.files.map((file) => [file.path, file.blob]));
      expect(other.tree.digest).toBe(one.tree.digest);
    }), { numRuns: 20 });
  });

  test('names each file by its content, and lists exactly what it wrote', () => {
    fc.assert(fc.property(steps, ({ rows, its }) => {
      const { files, tree } = render(emptyRenderState(its), delta(rows));
      expect(new Map(files.map(({ path, content }) => [path, blobName(content!)]))).toEqual(tree.files);
      expect(files.map(({ path }) => path)).toEqual([...tree.files.keys()].sort());
      expect(tree.digest).toBe(treeDigest(tree.files));
    }), { numRuns: 20 });
  });

  test('is not written again where nothing changed', () => {
    fc.assert(fc.property(fleet(6), (rows) => {
      const first = render(emptyRenderState(settings), delta(rows));
      const again = render(first.state, delta(rows));
      expect(again.files).toEqual([]);
      expect(again.tree).toEqual(first.tree);
    }), { numRuns: 20 });
  });
});

function detour(row: ManifestInput, kind: string): ManifestInput {
  if (kind === 'namespace') return { ...row, spec: { ...row.spec, namespace: 'elsewhere' } };
  if (kind === 'slug') return { ...row, workload: { ...row.workload, slug: 'another', digest: `${row.workload.digest}-another` as never } };
  return { ...row, placement: { ...row.placement, epoch: 21 as never } };
}
