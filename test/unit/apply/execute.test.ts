import { describe, expect, test } from 'vitest';
import type { Action } from '../../../src/apply/actions.ts';
import { createExecutor, type Execution, type Pass } from '../../../src/apply/execute.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { KubeAnswer, KubeRequest, KubeWriter } from '../../../src/platform/kube/write.ts';
import { desired, toApply } from '../../support/executor.ts';
import { fixedRandom } from '../../support/clock.ts';

const kinds = [['v1', 'namespaces', 'Namespace'], ['v1', 'configmaps', 'ConfigMap'], ['admissionregistration.k8s.io/v1', 'validatingwebhookconfigurations', 'ValidatingWebhookConfiguration']] as const;

/** A server that takes everything; `before` is awaited before a request is answered. */
function server(before: (name: string) => Promise<void> = () => Promise.resolve()): KubeWriter & { readonly begun: string[]; readonly ended: string[] } {
  const begun: string[] = [];
  const ended: string[] = [];
  const answer = (status: number, body: unknown): KubeAnswer => ({ kind: 'answered', status, retryAfter: null, body });
  const send = async ({ method, path }: KubeRequest): Promise<KubeAnswer> => {
    if (method === 'GET') return answer(200, { resources: kinds.map(([, name, kind]) => ({ name, kind, namespaced: kind === 'ConfigMap' })) });
    const name = /([^/?]+)(?:\?|$)/.exec(path)?.[1] ?? '';
    begun.push(name);
    await before(name);
    ended.push(name);
    return answer(201, { metadata: { name, uid: name, resourceVersion: '1' } });
  };
  return { begun, ended, send };
}

const object = (kind: string, name: string): Action => {
  const [apiVersion = ''] = kinds.find(([, , known]) => known === kind) ?? [];
  return toApply(desired(`apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: ${name}${kind === 'ConfigMap' ? ', namespace: default' : ''}}\n`));
};
const maps = (count: number, name: string): readonly Action[] => Array.from({ length: count }, (_, n) => object('ConfigMap', `${name}-${String(n)}`));

function execute(writer: KubeWriter, actions: readonly Action[] | AsyncIterable<readonly Action[]>, pass: Partial<Pass> = {}): Promise<Execution> {
  const executor = createExecutor({ writer, clock: systemClock, random: fixedRandom(0) });
  return executor.execute(actions, { signal: new AbortController().signal, assertLeading: () => Promise.resolve(), objection: () => null, recreate: () => null, dryRun: false, ...pass });
}

const names = ({ outcomes }: Execution): readonly string[] => outcomes.map(({ ref }) => ref.name);

// eslint-disable-next-line @typescript-eslint/require-await -- a source that needs no time
async function* from(...batches: readonly (readonly Action[])[]): AsyncGenerator<readonly Action[]> {
  yield* batches;
}

describe('batches', () => {
  test('of one stage are one queue: a slow object at the end of one holds up none of the next', async () => {
    let finish = (): void => undefined;
    const others = new Promise<void>((resolve) => { finish = resolve; });
    const to = server((name) => {
      if (name === 'b-9') finish();
      return name === 'slow' ? others : Promise.resolve();
    });
    const done = await execute(to, from([...maps(10, 'a'), object('ConfigMap', 'slow')], maps(10, 'b')));
    expect(done.outcomes).toHaveLength(21);
    expect(to.begun).toEqual([...maps(10, 'a'), object('ConfigMap', 'slow'), ...maps(10, 'b')].map((action) => (action.kind === 'apply' ? action.desired.ref.name : '')));
  });

  test('stand in the order of their stages: what is of another one waits for all before it', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => { release = resolve; });
    const to = server((name) => (name === 'b-1' ? held : Promise.resolve()));
    const run = execute(to, from([object('ConfigMap', 'a-0'), object('Namespace', 'early')], maps(2, 'b'), [object('ValidatingWebhookConfiguration', 'late')]));
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    expect(to.begun).toEqual(['early', 'a-0', 'b-0', 'b-1']);
    release();
    expect(names(await run)).toEqual(['early', 'a-0', 'b-0', 'b-1', 'late']);
  });

  test('are made when they are needed, and no more once something newer came', async () => {
    const newer = new AbortController();
    let made = 0;
    let closed = false;
    // eslint-disable-next-line @typescript-eslint/require-await -- a source that needs no time
    async function* endless(): AsyncGenerator<readonly Action[]> {
      try {
        for (;;) yield maps(100, `m${String((made += 1))}`);
      } finally {
        closed = true;
      }
    }
    const to = server((name) => {
      if (name === 'm3-0') newer.abort();
      return Promise.resolve();
    });
    const seen: string[] = [];
    const done = await execute(to, endless(), { signal: newer.signal, onOutcome: (_, { ref }) => seen.push(ref.name) });
    expect(made).toBeLessThanOrEqual(5);
    expect(closed).toBe(true);
    // Each that was taken has an outcome, told as it came.
    expect(done.outcomes).toHaveLength(made * 100);
    expect(seen).toEqual(names(done));
    expect(done.outcomes.filter(({ kind }) => kind === 'created')).toHaveLength(to.ended.length);
  });

  test('that can not be made end it, and what was done before is known', async () => {
    const seen: string[] = [];
    // eslint-disable-next-line @typescript-eslint/require-await -- a source that needs no time
    async function* failing(): AsyncGenerator<readonly Action[]> {
      yield maps(3, 'a');
      throw new Error('no clone');
    }
    await expect(execute(server(), failing(), { onOutcome: (_, { kind }) => seen.push(kind) })).rejects.toThrow('no clone');
    expect(seen).toEqual(['created', 'created', 'created']);
  });

  test('are made no more once the lead is lost', async () => {
    let closed = false;
    // eslint-disable-next-line @typescript-eslint/require-await -- a source that needs no time
    async function* endless(): AsyncGenerator<readonly Action[]> {
      try {
        for (;;) yield maps(100, 'm');
      } finally {
        closed = true;
      }
    }
    await expect(execute(server(), endless(), { assertLeading: () => Promise.reject(new Error('another leads')) })).rejects.toThrow('another leads');
    expect(closed).toBe(true);
  });

  test('what is skipped is told, and sent to nobody', async () => {
    const skip: Action = { kind: 'skip', ref: { apiVersion: 'v1', kind: 'ConfigMap', namespace: 'default', name: 'x' }, reason: 'not-ours', detail: 'd' };
    const to = server();
    expect((await execute(to, [skip])).outcomes).toEqual([{ kind: 'skipped', ref: skip.ref, reason: 'not-ours', detail: 'd' }]);
    expect(to.begun).toEqual([]);
  });
});
