import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { managedNode, startDemoCluster, type DemoCluster } from '../../../src/cli/demo/cluster.ts';
import type { AgentReport } from '../../../src/cli/demo/protocol.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { startChild } from '../../support/child.ts';
import { temporaryFolder } from '../../support/temp.ts';

type Beat = Readonly<Record<string, unknown>>;

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: Server;
let url: string;
let beats: Beat[];
/** Processor and epoch of the pods that are told to shut down. */
let unwanted: Set<string>;

const agentProgram = join(packageRoot(), 'dist', 'src', 'cli', 'demo', 'agent-main.js');
const key = ({ processor_id, placement_epoch }: Beat): string => `${String(processor_id)} ${String(placement_epoch)}`;
const [one, two] = [randomUUID(), randomUUID()];

beforeEach(async () => {
  folder = await temporaryFolder();
  execFileSync('git', ['init', '--bare', '--quiet', '--initial-branch=main', folder.path]);
  beats = [];
  unwanted = new Set();
  server = createServer((request, response) => {
    void text(request).then((body) => {
      const beat = JSON.parse(body) as Beat;
      beats.push(beat);
      response.end(JSON.stringify({ acknowledged: true, directive: unwanted.has(key(beat)) ? 'shutdown' : 'continue' }));
    }, () => {
      // Its sender was killed while it spoke.
      response.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await folder.remove();
});

interface Wanted {
  readonly id: string;
  readonly epoch: number;
  readonly node: string | null;
  readonly replicas?: number;
}

/** Commits the manifests of a fleet, as the renderer lays them out. */
function commit(...wanted: Wanted[]): void {
  const files = wanted.map(({ id, epoch, node, replicas = 1 }) => {
    const selector = node === null ? { 'workload-type': 'application' } : { 'kubernetes.io/hostname': node, 'node-type': 'edge' };
    const manifest = JSON.stringify({
      apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: `p-e${String(epoch)}`, annotations: { 'dory.io/epoch': String(epoch) } },
      spec: { replicas, template: { metadata: { labels: { 'processor-id': id } }, spec: { nodeSelector: selector } } },
    });
    return `M 100644 inline clusters/default/processors/${id}.yaml\ndata ${String(manifest.length)}\n${manifest}\n`;
  });
  const stream = `commit refs/heads/main\ncommitter t <t@localhost> ${String(Math.floor(Date.now() / 1000))} +0000\ndata 1\nx\ndeleteall\nM 100644 inline README.md\ndata 1\nx\n${files.join('')}`;
  execFileSync('git', ['--git-dir', folder.path, 'fast-import', '--quiet', '--force'], { input: stream });
}

async function withCluster(fn: (cluster: DemoCluster, reports: [string, AgentReport][]) => Promise<void>): Promise<void> {
  const reports: [string, AgentReport][] = [];
  const cluster = startDemoCluster({
    repository: folder.path, branch: 'main', cluster: 'default', nodes: ['edge-1', 'edge-2'], server: url, intervalMs: 20,
    clock: systemClock, log: silentLog, agentProgram, onReport: (node, report) => reports.push([node, report]),
  });
  try {
    await fn(cluster, reports);
  } finally {
    await cluster.stop();
  }
}

const where = (cluster: DemoCluster): Record<string, string[]> =>
  Object.fromEntries(cluster.state().nodes.map(({ name, pods }) => [name, pods.map(({ processorId, epoch }) => `${processorId} ${String(epoch)}`).sort()]));
const eventually = { timeout: 15_000, interval: 20 };
const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test('pods follow the commits from node to node, and every node but the managed one speaks for itself', async () => {
  await withCluster(async (cluster, reports) => {
    await expect.poll(() => new Set(beats.map(({ node_id }) => node_id)), eventually).toEqual(new Set(['edge-1', 'edge-2']));
    commit({ id: one, epoch: 1, node: 'edge-1' }, { id: two, epoch: 1, node: null });
    await expect.poll(() => where(cluster), eventually).toEqual({ 'edge-1': [`${one} 1`], 'edge-2': [], [managedNode]: [`${two} 1`] });
    await expect.poll(() => beats, eventually).toContainEqual(expect.objectContaining({ processor_id: one, node_id: 'edge-1', status: 'healthy', placement_epoch: 1, epoch: null }));
    commit({ id: one, epoch: 1, node: 'edge-1', replicas: 0 }, { id: two, epoch: 2, node: 'edge-2' });
    await expect.poll(() => where(cluster), eventually).toEqual({ 'edge-1': [], 'edge-2': [`${two} 2`], [managedNode]: [] });
    expect(reports).toContainEqual(['edge-1', { kind: 'stopped', pod: { processorId: one, epoch: 1 }, because: 'removed' }]);
    const last = beats.filter((beat) => key(beat) === `${one} 1`).at(-1);
    expect(last).toMatchObject({ status: 'stopped' });
    expect(beats.filter(({ processor_id, node_id }) => processor_id === undefined && node_id === managedNode)).toEqual([]);
  });
});

test('a node that comes back runs what it had until it is told to stop, and says that it stopped', async () => {
  await withCluster(async (cluster, reports) => {
    commit({ id: one, epoch: 1, node: 'edge-1' });
    await expect.poll(() => where(cluster)['edge-1'], eventually).toEqual([`${one} 1`]);
    const pid = cluster.state().nodes[0]!.pid!;
    await cluster.kill('edge-1');
    expect(isAlive(pid)).toBe(false);
    expect(cluster.state().nodes[0]).toMatchObject({ pid: null, pods: [{ processorId: one, epoch: 1 }] });
    unwanted.add(`${one} 1`);
    commit({ id: one, epoch: 2, node: null });
    await expect.poll(() => where(cluster)[managedNode], eventually).toEqual([`${one} 2`]);
    const before = beats.length;
    await cluster.revive('edge-1');
    await expect.poll(() => reports, eventually).toContainEqual(['edge-1', { kind: 'stopped', pod: { processorId: one, epoch: 1 }, because: 'told' }]);
    expect(beats.slice(before).filter((beat) => key(beat) === `${one} 1`).map(({ status }) => status)).toEqual(['healthy', 'stopped']);
    expect(where(cluster)).toEqual({ 'edge-1': [], 'edge-2': [], [managedNode]: [`${one} 2`] });
  });
});

test('no agent outlives a stop, nor a parent that is killed', async () => {
  let pids: (number | null)[] = [];
  await withCluster((cluster) => {
    pids = cluster.state().nodes.map(({ pid }) => pid);
    return Promise.resolve();
  });
  expect(pids.map((pid) => isAlive(pid!))).toEqual([false, false, false]);

  const parent = startChild('demo-parent', [folder.path, url, agentProgram]);
  const orphans = JSON.parse(await parent.line()) as number[];
  await expect.poll(() => beats.length, eventually).toBeGreaterThan(0);
  parent.process.kill('SIGKILL');
  await parent.ended;
  await expect.poll(() => orphans.map(isAlive), eventually).toEqual([false, false, false]);
});
