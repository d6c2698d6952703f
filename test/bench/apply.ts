import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import type { Action } from '../../src/apply/actions.ts';
import { findControlPlane } from '../../src/cli/demo/control-plane-programs.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { desired, statefulSet, testExecutor, toApply } from '../support/executor.ts';
import { atLeast, check, count, median, plain, timed, type BenchRow, type BenchSize } from './measure.ts';

const run = promisify(execFile);

/** What others keep in flight who don't look at the server: more made it no faster here. */
const fixedConcurrency = 32;

/** Turns of both until the engine has compiled what they run: who applies has run for weeks. */
const warmUp = 2;

/**
 * StatefulSets created and changed by server-side apply on a real API server: by the executor, and by a client that does nothing but
 * send the same bytes over connections that stay open, in turns; and once by kubectl. Without the programs of a control plane
 * there is nothing to measure.
 */
export async function benchApply({ quick }: BenchSize): Promise<readonly BenchRow[]> {
  const found = await findControlPlane(process.env);
  if (!found.complete) return [plain(`skipped: no ${found.missing.join(', ')}; the cluster tests build them`, 0, '')];
  const objects = quick ? 50 : 1_000;
  const cluster = await startControlPlane({ programs: found.programs });
  try {
    const kubectl = await measure(cluster, byKubectl(found.programs.kubectl), { namespace: 'kubectl', objects });
    const turns: Turn[] = [];
    for (let turn = 0; turn < (quick ? warmUp + 1 : warmUp + 7); turn += 1) turns.push(await takeTurn(cluster, { turn, objects }));
    return (['create', 'change'] as const).flatMap((what) => rowsOf(what, objects, kubectl[what], turns.map(({ ours, plain: theirs }) => ({ ours: ours[what], plain: theirs[what] }))));
  } finally {
    await cluster.stop();
  }
}

/** Milliseconds for all objects. */
interface Times {
  readonly create: number;
  readonly change: number;
}

interface Turn {
  readonly ours: Times;
  readonly plain: Times;
}

function rowsOf(what: string, objects: number, kubectl: number, all: readonly { readonly ours: number; readonly plain: number }[]): readonly BenchRow[] {
  const turns = all.slice(warmUp);
  const ours = median(turns.map((turn) => turn.ours));
  const share = (some: typeof all): number => median(some.map((turn) => (turn.plain / turn.ours) * 100));
  return [
    plain(`${what} ${count(objects)} StatefulSets`, ours, 'ms'),
    plain(`  by a client that only sends, ${String(fixedConcurrency)} at once`, median(turns.map((turn) => turn.plain)), 'ms'),
    plain('  by kubectl apply --server-side', kubectl, 'ms'),
    atLeast('  that many times faster than kubectl', kubectl / ours, '×', 2),
    atLeast('  share of the throughput of the client that only sends', share(turns), '%', 90),
    plain('    in the first turn of the process, ours first', share(all.slice(0, 1)), '%'),
  ];
}

/** Who goes first changes from turn to turn. */
async function takeTurn(cluster: ControlPlane, { turn, objects }: { readonly turn: number; readonly objects: number }): Promise<Turn> {
  const ours = (): Promise<Times> => measure(cluster, byExecutor, { namespace: `ours-${String(turn)}`, objects });
  const theirs = (): Promise<Times> => measure(cluster, byPlainClient, { namespace: `plain-${String(turn)}`, objects });
  if (turn % 2 === 0) return { ours: await ours(), plain: await theirs() };
  return { plain: await theirs(), ours: await ours() };
}

type Way = (cluster: ControlPlane, documents: readonly string[]) => Promise<number>;

async function measure(cluster: ControlPlane, way: Way, { namespace, objects }: { readonly namespace: string; readonly objects: number }): Promise<Times> {
  await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  const send = async (image: string): Promise<number> => {
    const documents = Array.from({ length: objects }, (_, i) => statefulSet(`processor-${String(i)}`, { namespace, image }));
    const ms = await way(cluster, documents);
    await checkAll(cluster, namespace, documents);
    return ms;
  };
  return { create: await send('registry.example/processor:1'), change: await send('registry.example/processor:2') };
}

async function checkAll(cluster: ControlPlane, namespace: string, documents: readonly string[]): Promise<void> {
  const { items } = (await cluster.send('GET', `/apis/apps/v1/namespaces/${namespace}/statefulsets`)) as unknown as { items: { spec: { template: { spec: { containers: { image: string }[] } } } }[] };
  const image = /image: (\S+)/.exec(documents[0] ?? '')?.[1] ?? '';
  const right = items.filter(({ spec }) => spec.template.spec.containers[0]?.image === image).length;
  check(right === documents.length, `${String(right)} of ${String(documents.length)} objects in ${namespace} are as they should be`);
}

/** With new connections each time, as the other ways. */
async function byExecutor({ kubeconfig }: ControlPlane, documents: readonly string[]): Promise<number> {
  const actions = documents.map((yaml): Action => toApply(desired(yaml)));
  const { run: execute, close } = testExecutor(kubeconfig);
  const { ms, result } = await timed(() => execute(actions));
  close();
  const bad = result.outcomes.find(({ kind }) => kind !== 'created' && kind !== 'configured');
  check(bad === undefined, `${JSON.stringify(bad)} of ${String(result.outcomes.length)}`);
  return ms;
}

async function byPlainClient(cluster: ControlPlane, documents: readonly string[]): Promise<number> {
  const ca = await readFile(join(cluster.folder, 'apiserver.crt'));
  const token = /token: (\S+)/.exec(await readFile(cluster.kubeconfig, 'utf8'))?.[1] ?? '';
  const agent = new Agent({ keepAlive: true, ca });
  const paths = documents.map((yaml) => {
    const { metadata } = parse(yaml) as { metadata: { name: string; namespace: string } };
    return `/apis/apps/v1/namespaces/${metadata.namespace}/statefulsets/${metadata.name}?fieldManager=dory-orchestrator&fieldValidation=Strict`;
  });
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let i = next++; i < documents.length; i = next++) await patch(`${cluster.url}${paths[i] ?? ''}`, documents[i] ?? '', { agent, token });
  };
  const { ms } = await timed(() => Promise.all(Array.from({ length: fixedConcurrency }, lane)));
  agent.destroy();
  return ms;
}

function patch(url: string, body: string, { agent, token }: { readonly agent: Agent; readonly token: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/apply-patch+yaml', accept: 'application/json' };
    const sent = request(url, { method: 'PATCH', agent, headers }, (response) => {
      response.resume().once('end', () => {
        if ((response.statusCode ?? 500) < 300) resolve();
        else reject(new Error(String(response.statusCode)));
      });
    });
    sent.once('error', reject);
    sent.end(body);
  });
}

function byKubectl(kubectl: string): Way {
  return async ({ kubeconfig, folder }, documents) => {
    const file = join(folder, 'bench.yaml');
    await writeFile(file, documents.join('---\n'));
    const { ms } = await timed(() => run(kubectl, ['--kubeconfig', kubeconfig, '--cache-dir', join(folder, 'kubectl'), 'apply', '--server-side', '-f', file], { maxBuffer: 1e8 }));
    return ms;
  };
}
