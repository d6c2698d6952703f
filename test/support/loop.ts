import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { openApplier, type OpenApplier } from '../../src/cli/applier.ts';
import type { ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';
import type { OwnTree, Repository } from '../../src/commit/repository.ts';
import { blobName } from '../../src/platform/digest.ts';
import { silentLog } from '../../src/platform/log.ts';
import { removeProcessors, startOwnControlPlane, type OwnControlPlane } from './cluster-fleet.ts';
import { openSmallFleet, type TestFleet } from './fleet.ts';
import { until } from './until.ts';

interface Sets {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string; readonly annotations: Readonly<Record<string, string>>; readonly labels: Readonly<Record<string, string>>; readonly managedFields: readonly { readonly manager: string; readonly operation: string }[] }; readonly spec: { readonly replicas: number } }[];
}

export type Started = OpenApplier & { /** How often it was woken for what it saw. */ readonly changes: () => number };
type Trees = Pick<Repository, 'ownTree' | 'readBlobs'>;

/** A control plane with the program's own rights, and for each test a small fleet that was committed once. To be called in `describe`. */
export function useLoop(programs: ControlPlanePrograms | string) {
  let server: OwnControlPlane;
  let fleet: TestFleet;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, apply: 'ssa' });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    closes.push(() => removeProcessors(server));
    fleet = await openSmallFleet();
    closes.push(() => fleet.close());
    await fleet.once();
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const sets = async (): Promise<Sets['items']> => ((await server.send('GET', '/apis/apps/v1/namespaces/default/statefulsets')) as unknown as Sets).items;
  const names = async (): Promise<readonly string[]> => (await sets()).map(({ metadata }) => `${metadata.labels['processor-id']?.slice(-2) ?? '?'} ${metadata.annotations['dory.io/epoch'] ?? '?'}`).sort();
  const path = (name: string): string => `/apis/apps/v1/namespaces/default/statefulsets/${name}`;
  const nameOf = async (end: string): Promise<string> => (await sets()).find(({ metadata }) => metadata.labels['processor-id']?.endsWith(end) === true)?.metadata.name ?? '';

  /** An instance's, with nothing remembered; `changes` counts what it was woken for. */
  const start = (more: { readonly settings?: Partial<TestFleet['runtime']['settings']['ssa']>; readonly assertLeading?: () => Promise<void>; readonly kubeconfig?: string; readonly tree?: OwnTree; readonly trees?: Partial<Trees> } = {}): Started => {
    let changes = 0;
    const { runtime, engine: { repository } } = fleet;
    const opened = openApplier(
      { ...runtime, log: silentLog, kubernetes: { kind: 'file', path: more.kubeconfig ?? server.own }, settings: { ...runtime.settings, ssa: { ...runtime.settings.ssa, ...more.settings } } },
      { repository: { ...repository, ...(more.tree === undefined ? {} : { ownTree: () => Promise.resolve(more.tree ?? null) }), ...more.trees }, assertLeading: more.assertLeading ?? (() => Promise.resolve()), onChange: () => { changes += 1; } },
    );
    closes.push(() => opened.close());
    return { ...opened, changes: () => changes };
  };
  const settled = async (opened: OpenApplier): Promise<void> => {
    await until(async () => (await opened.applier.pass()).requests === 0, 'a pass finds nothing to do');
  };
  const remove = (end: string): Promise<unknown> => fleet.pool.query(`update processors set status = 'terminated' where id::text like '%' || $1`, [end]);
  const release = async (version: string): Promise<void> => {
    await fleet.pool.query('update processor_template_versions set version = $1, image_uri = $2', [version, `registry.example.com/camera:${version}`]);
    await fleet.pool.query('update dory.state set version = version + 1');
  };
  const events = async (): Promise<readonly { readonly evidence: Readonly<Record<string, unknown>> }[]> => (await fleet.pool.query<{ evidence: Readonly<Record<string, unknown>> }>(`select evidence from dory.events where kind = 'drift' order by id`)).rows;
  const problems = async (): Promise<readonly string[]> => (await fleet.pool.query<{ reason: string }>('select reason from dory.apply_problems order by object')).rows.map(({ reason }) => reason);

  const manifest = async (object: unknown): Promise<string> => {
    const file = `${server.folder}/object.json`;
    await writeFile(file, JSON.stringify(object, (key, value: unknown) => (['managedFields', 'uid', 'resourceVersion', 'creationTimestamp', 'generation', 'status'].includes(key) ? undefined : value)));
    return file;
  };

  const deafKubeconfig = async (): Promise<string> => {
    const file = `${server.folder}/deaf.kubeconfig`;
    await server.writeKubeconfig(file, { token: 'wrong', server: 'https://127.0.0.1:1' });
    return file;
  };

  /** What a person or a GitOps tool applies: the files of the branch. */
  const committed = async (): Promise<string> => {
    const paths = (await fleet.git('ls-tree', '-r', '--name-only', 'main', 'clusters/test/processors')).split('\n').filter((file) => file.endsWith('.yaml'));
    const file = `${server.folder}/committed.yaml`;
    await writeFile(file, (await Promise.all(paths.map((each) => fleet.git('show', `main:${each}`)))).join('\n---\n'));
    return file;
  };

  /** The files of the commit, with some changed, or added, or (null) removed: as a renderer of another version would write them. */
  const committedWith = async (revision: number, change: (path: string, text: string) => string | null, more: Readonly<Record<string, string>> = {}): Promise<Trees> => {
    const tree = (await fleet.engine.repository.ownTree())!;
    const contents = new Map<string, Uint8Array>();
    const files = new Map<string, string>();
    const add = (path: string, text: string | null): void => {
      if (text === null) return;
      const blob = blobName(Buffer.from(text));
      files.set(path, blob);
      contents.set(blob, Buffer.from(text));
    };
    for (const [path, blob] of tree.files) {
      const [content] = await fleet.engine.repository.readBlobs([blob]);
      add(path, change(path, Buffer.from(content ?? []).toString('utf8')));
    }
    for (const [path, text] of Object.entries(more)) add(path, text);
    return {
      ownTree: () => Promise.resolve({ commit: `commit-${String(revision)}`, revision: revision as never, files }),
      readBlobs: (wanted) => Promise.resolve(wanted.map((blob) => contents.get(blob)!)),
    };
  };
  return {
    get server() { return server; },
    get fleet() { return fleet; },
    closes, sets, names, path, nameOf, start, settled, remove, release, events, problems, manifest, deafKubeconfig, committed, committedWith,
  };
}
