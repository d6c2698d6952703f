import { describe, expect, test } from 'vitest';
import type { ProcessorId } from '../../../src/model/ids.ts';
import { instant } from '../../../src/model/time.ts';
import type { FileChange } from '../../../src/model/tree.ts';
import { summarize, type ChangedPlacement } from '../../../src/render/change.ts';
import { changeEntries, type Entry } from '../../../src/render/leaf.ts';
import { leafOf } from '../../../src/render/layout.ts';
import { emptyRenderState, render } from '../../../src/render/render.ts';
import { exampleDelta, exampleInput, exampleWorkload, processorId, settings } from './example.ts';

const empty = emptyRenderState(settings);
const paths = (files: readonly FileChange[]): string[] => files.map(({ path, content }) => (content === null ? `- ${path}` : path));
const text = (files: readonly FileChange[], path: string): string => Buffer.from(files.find((file) => file.path === path)?.content ?? []).toString();
const file = 'clusters/example/processors/people-counter-02bfd9e94c5e.yaml';
const overview = 'clusters/example/processors/placements.tsv';
const change = 'clusters/example/.dory/change.json';

describe('a first render', () => {
  const { files } = render(empty, exampleDelta([exampleInput()]));

  test('has a file a processor, the overview, what its namespace needs, and our own', () => {
    expect(paths(files)).toEqual([
      change, 'clusters/example/.dory/owner.json', 'clusters/example/.gitattributes', file, overview, 'clusters/example/system/processor-access-default.yaml',
    ]);
  });

  test('shows people where each processor is', () => {
    expect(text(files, overview)).toBe(
      'name\ttarget\tepoch\tphase\treason\tsince\n' +
        'people-counter-02bfd9e94c5e\tedge-17\t3\tactive\tfirst-placement\t2026-11-21T04:05:06Z\n',
    );
  });

  test('names its owner and layout', () => {
    expect(JSON.parse(text(files, 'clusters/example/.dory/owner.json'))).toEqual({ format: 1, owner: settings.owner, cluster: 'example', layout: 'flat' });
  });
});

describe('with Argo CD', () => {
  const its = { ...settings, layout: '64' as const, argocdFiles: () => new Map([['applications.yaml', '# all\n']]) };

  test('every folder is there from the beginning and stays, so that its Application can delete the last processor', () => {
    const first = render(emptyRenderState(its), exampleDelta([exampleInput()]));
    const overviews = (state: typeof first.state): readonly string[] => [...state.files.keys()].filter((path) => path.endsWith('/placements.tsv'));
    expect(overviews(first.state)).toHaveLength(64);
    expect(paths(first.files)).toContain('clusters/example/argocd/applications.yaml');
    const gone = render(first.state, exampleDelta([], [processorId], 18));
    expect(overviews(gone.state)).toHaveLength(64);
    expect(paths(gone.files).filter((path) => path.includes('/processors/'))).toEqual([expect.stringMatching(/^- .*\.yaml$/), expect.stringMatching(/placements\.tsv$/)]);
  });
});

describe('an increment', () => {
  const first = render(empty, exampleDelta([exampleInput()]));

  test('touches what moved, and nothing else', () => {
    const other = exampleInput({ spec: { id: '018f2c3e-0000-7000-8000-000000000002' as ProcessorId } });
    const two = render(first.state, exampleDelta([other], [], 18));
    const moved = exampleInput({ placement: { target: { kind: 'managed' }, epoch: 4 as never, reason: 'heartbeat-stale' } });
    expect(paths(render(two.state, exampleDelta([moved], [], 19)).files)).toEqual([change, file, overview]);
  });

  test('with the same bytes as before is no change', () => {
    expect(render(first.state, exampleDelta([exampleInput()])).files).toEqual([]);
  });

  test('without any processor left leaves only what is our own', () => {
    const gone = render(first.state, exampleDelta([], [processorId], 18));
    expect(paths(gone.files)).toEqual([change, `- ${file}`, `- ${overview}`, '- clusters/example/system/processor-access-default.yaml']);
    expect([...gone.tree.files.keys()].sort()).toEqual(paths(render(empty, exampleDelta([])).files));
  });

  test('follows a slug to its new file, and leaves none behind', () => {
    const renamed = render(first.state, exampleDelta([exampleInput({ workload: exampleWorkload({ slug: 'visitors' }) })], [], 18));
    expect(paths(renamed.files)).toEqual([change, `- ${file}`, overview, 'clusters/example/processors/visitors-02bfd9e94c5e.yaml'].sort((a, b) => (a.replace('- ', '') < b.replace('- ', '') ? -1 : 1)));
  });

  test('brings along what a new namespace needs, and takes away what the last processor of one needed', () => {
    const elsewhere = render(first.state, exampleDelta([exampleInput({ spec: { namespace: 'vision' } })], [], 18));
    expect(paths(elsewhere.files)).toEqual([change, file, '- clusters/example/system/processor-access-default.yaml', 'clusters/example/system/processor-access-vision.yaml']);
  });

  test('does not remove what is not there', () => {
    expect(paths(render(first.state, exampleDelta([], ['unknown' as ProcessorId])).files)).toEqual([]);
  });

  test('leaves the state it started from as it was', () => {
    const before = new Map(first.state.files);
    render(first.state, exampleDelta([], [processorId], 18));
    expect(first.state.files).toEqual(before);
    expect(paths(render(first.state, exampleDelta([exampleInput()])).files)).toEqual([]);
  });
});

describe('a render is refused', () => {
  const refused = expect.objectContaining({ code: 'render-invalid' }) as Error;

  test('when a processor is listed twice', () => {
    expect(() => render(empty, exampleDelta([exampleInput(), exampleInput()]))).toThrow(refused);
    expect(() => render(empty, exampleDelta([exampleInput()], [processorId]))).toThrow(refused);
  });

  test('when two processors would share a file', () => {
    const entry = (id: string): Entry => ({ id: id as ProcessorId, stem: 'same', namespace: 'default', line: '' });
    expect(() => changeEntries([entry('a')], new Map([['b' as ProcessorId, entry('b')]]), new Set())).toThrow(refused);
    expect(changeEntries([entry('a')], new Map([['b' as ProcessorId, entry('b')]]), new Set(['a' as ProcessorId])).entries).toEqual([entry('b')]);
  });

  test('when what is stamped is not what cdk8s prints', () => {
    const { state } = render(empty, exampleDelta([exampleInput()]));
    const shapes = new Map([...state.shapes].map(([key, shape]) => [key, { ...shape, tail: [...shape.tail, '# tampered\n'] }]));
    expect(() => render({ ...state, shapes }, exampleDelta([exampleInput()], [], 18))).toThrow(refused);
  });
});

describe('the layout', () => {
  test('spreads processors by the first ten bits of their hash', () => {
    const leaf = (layout: 'flat' | '64' | '64x16', hash: string): string => leafOf({ cluster: 'c', layout }, hash);
    expect(leaf('flat', 'fff')).toBe('clusters/c/processors');
    expect(['000', 'fff', '040'].map((hash) => leaf('64', hash))).toEqual(['00', '3f', '01'].map((shard) => `clusters/c/processors/${shard}`));
    expect(['000', 'fff', '040', '004'].map((hash) => leaf('64x16', hash))).toEqual(['00/0', '3f/f', '01/0', '00/1'].map((shard) => `clusters/c/processors/${shard}`));
  });
});

test('a summary counts everything and lists the first moves', () => {
  const changes = Array.from({ length: 60 }, (_, i): ChangedPlacement => ({
    processorId: String(100 - i) as ProcessorId, kind: i === 0 ? 'update' : 'move', reason: 'heartbeat-stale',
    before: { target: { kind: 'edge', nodeId: 'n' as never, nodeName: 'edge-17' as never } }, after: { target: { kind: 'managed' }, epoch: 2 as never },
  }));
  const summary = summarize({ revision: 5 as never, trigger: 'heartbeat-stale', decidedAt: instant(0) }, changes);
  expect(summary).toMatchObject({ revision: 5, decidedAt: '1970-01-01T00:00:00Z', counts: { move: 59, update: 1 }, movesOmitted: 9 });
  expect(summary.moves).toHaveLength(50);
  expect(summary.moves[0]).toEqual({ processor: '41', kind: 'move', from: 'edge-17', to: 'managed', epoch: 2, reason: 'heartbeat-stale' });
});
