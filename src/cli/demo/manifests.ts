import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { Pod } from './protocol.ts';

/** A pod that the manifests ask for. `node` null: any managed one. */
export interface DesiredPod extends Pod {
  readonly node: string | null;
}

const statefulSet = z.object({
  kind: z.literal('StatefulSet'),
  metadata: z.object({ annotations: z.object({ 'dory.io/epoch': z.coerce.number().int().positive() }) }),
  spec: z.object({
    replicas: z.number(),
    template: z.object({
      metadata: z.object({ labels: z.object({ 'processor-id': z.string() }) }),
      spec: z.object({ nodeSelector: z.record(z.string(), z.string()) }),
    }),
  }),
});

/** What a cluster would run of these files: one pod for each StatefulSet that is not scaled to 0. */
export function podsOf(files: readonly string[]): DesiredPod[] {
  const pods: DesiredPod[] = [];
  for (const document of files.flatMap((text) => parseAllDocuments(text))) {
    const parsed = statefulSet.safeParse(document.toJS());
    if (!parsed.success || parsed.data.spec.replicas === 0) continue;
    const { metadata, spec } = parsed.data;
    pods.push({
      processorId: spec.template.metadata.labels['processor-id'],
      epoch: metadata.annotations['dory.io/epoch'],
      node: spec.template.spec.nodeSelector['kubernetes.io/hostname'] ?? null,
    });
  }
  return pods;
}

/** The branch's newest commit; null while there is none. */
export async function headOf(repository: string, branch: string): Promise<string | null> {
  const head = (await git(repository, ['for-each-ref', '--format=%(objectname)', `refs/heads/${branch}`])).toString('utf8').trim();
  return head === '' ? null : head;
}

/** The contents of all manifests of processors in a commit. */
export async function manifestsAt(repository: string, commit: string, cluster: string): Promise<string[]> {
  const listed = await git(repository, ['ls-tree', '-r', '-z', commit, '--', `clusters/${cluster}/processors/`]);
  const blobs = listed.toString('utf8').split('\0').filter((line) => line.endsWith('.yaml')).map((line) => line.split(/\s/, 3)[2] ?? '');
  return blobs.length === 0 ? [] : contents(await git(repository, ['cat-file', '--batch'], blobs.join('\n')));
}

/** Reads `<name> blob <size>\n<content>\n`, again and again. */
function contents(output: Buffer): string[] {
  const files: string[] = [];
  for (let at = 0; at < output.length; ) {
    const start = output.indexOf('\n', at) + 1;
    const size = Number(output.toString('utf8', at, start - 1).split(' ')[2]);
    files.push(output.toString('utf8', start, start + size));
    at = start + size + 1;
  }
  return files;
}

async function git(repository: string, args: readonly string[], input = ''): Promise<Buffer> {
  const running = promisify(execFile)('git', ['--git-dir', repository, ...args], { encoding: 'buffer', maxBuffer: 1 << 28 });
  // A git that ends before it has read everything says why by its exit code.
  running.child.stdin?.on('error', () => undefined).end(input);
  return (await running).stdout;
}
