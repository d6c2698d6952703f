import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { packageRoot } from '../../src/platform/package-root.ts';
import { atMost, check, count, plain, type BenchRow, type BenchSize } from './measure.ts';
import type { MemoryReport } from './memory-child.ts';

/** MiB of the Deployment's limit, which git processes share. */
const limit = 512;

/** Resident memory of a process that makes the first commits of a fleet and then works on, as in the image and with Node's own settings. */
export async function benchMemory({ fleet }: BenchSize, urls: readonly string[]): Promise<readonly BenchRow[]> {
  const image = await imageEnvironment();
  const [ours, nodes] = [await measure(urls[0] ?? '', fleet, image), await measure(urls[1] ?? '', fleet, {})];
  return [
    atMost(`resident at work, ${count(fleet)} processors, as in the image`, ours.report.atWork, 'MiB', 350),
    atMost('  its peak, in the first commits', ours.report.peak, 'MiB', 1024),
    atMost('  the peak of it and its git processes together', ours.together, 'MiB', limit),
    plain('resident at work, with the settings of Node', nodes.report.atWork, 'MiB'),
    plain('  its peak, in the first commits', nodes.report.peak, 'MiB'),
  ];
}

/** What the image sets for Node and for the allocator. */
async function imageEnvironment(): Promise<Readonly<Record<string, string>>> {
  const instructions = await readFile(join(packageRoot(), 'Containerfile'), 'utf8');
  const found = [...instructions.matchAll(/\b(NODE_OPTIONS|MALLOC_\w+)=(?:"([^"]*)"|(\S+))/g)];
  check(found.length > 0, 'the Containerfile sets no NODE_OPTIONS');
  return Object.fromEntries(found.map(([, name = '', quoted, bare = '']) => [name, quoted ?? bare]));
}

interface Measured {
  readonly report: MemoryReport;
  /** MiB. */
  readonly together: number;
}

async function measure(url: string, processors: number, environment: Readonly<Record<string, string>>): Promise<Measured> {
  const execArgv = process.execArgv.filter((option) => option !== '--expose-gc');
  const child = fork(join(import.meta.dirname, `memory-child${extname(import.meta.filename)}`), [url, String(processors)], { execArgv, env: { ...process.env, ...environment } });
  const peak = watch(child);
  const [message] = (await once(child, 'message')) as [MemoryReport];
  return { report: message, together: peak() };
}

/** The most that a process and those that it started held together, as far as looks every 20 ms show it. */
function watch({ pid }: ChildProcess): () => number {
  let most = 0;
  const timer = setInterval(() => { most = Math.max(most, pid === undefined ? 0 : residentTree(pid)); }, 20);
  return () => {
    clearInterval(timer);
    return most;
  };
}

function residentTree(pid: number): number {
  try {
    const own = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1] ?? 0) / 1024;
    const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8').trim();
    return children === '' ? own : children.split(' ').reduce((sum, id) => sum + residentTree(Number(id)), own);
  } catch (error) {
    // It ended while we looked, or this system shows nothing of the kind.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || (error as NodeJS.ErrnoException).code === 'ESRCH') return 0;
    throw error;
  }
}
