import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, inject, test } from 'vitest';
import { packageRoot } from '../../src/platform/package-root.ts';

const programs = inject('controlPlane');
const run = promisify(execFile);

interface Fact {
  readonly kind: string;
  readonly chapter?: string;
  readonly changes?: readonly { readonly kind: string; readonly from: { readonly nodeName?: string } | null; readonly to: { readonly kind: string; readonly nodeName?: string } | null }[];
}

/** It ends well only if every chapter did: pods that really ran where the commits say. */
test.skipIf(typeof programs === 'string')('the demo tells its whole story on a real control plane, which it applies its commits to', { timeout: 180_000 }, async () => {
  const { stdout, stderr } = await run(process.execPath, [join(packageRoot(), 'dist', 'src', 'main.js'), 'demo', '--cluster', '--json', '--log-level', 'warn'], { maxBuffer: 1e8 });
  const commits = stdout.trim().split('\n').map((line) => JSON.parse(line) as Fact).filter(({ kind }) => kind === 'commit');
  const moved = (chapter: string) => commits.filter((fact) => fact.chapter === chapter).flatMap(({ changes = [] }) => changes.filter(({ kind }) => kind === 'move'));
  // Until the node controller misses the kubelet, the node is silent and Ready.
  expect(commits.map(({ chapter }) => chapter)).toEqual(['first', 'silent', 'failover', 'stop', 'failback']);
  expect(moved('failover').map(({ to }) => to?.kind)).toEqual(['managed', 'managed', 'managed']);
  expect(moved('failback').map(({ to }) => to?.nodeName).every((name) => name === 'yard-edge-2')).toBe(true);
  expect(stderr).not.toContain('forbidden');
});
