import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findPrograms, pathOf } from '../../src/cli/demo/control-plane-programs.ts';
import { packageRoot } from '../../src/platform/package-root.ts';

const run = promisify(execFile);
const verifier = 'git-verify-wrapper.sh';

export interface ArgocdPrograms {
  /** All of Argo CD in one program, which goes by its name; its folder belongs on the PATH. */
  readonly argocd: string;
  readonly redis: string;
  /** A folder with its CustomResourceDefinitions. */
  readonly crds: string;
}

/** Argo CD as `test/argocd/go.mod` names it, built by Go into the user's cache, once. A text says why there is none. */
export async function argocdPrograms(env: NodeJS.ProcessEnv, tell: (text: string) => void): Promise<ArgocdPrograms | string> {
  const source = join(packageRoot(), 'test', 'argocd');
  const cache = join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dory', 'argocd', await keyOf(source));
  const found = await inCache(cache);
  if (found !== null) return found;
  if ((await findPrograms(pathOf(env), ['go'])).go === undefined) return 'no Argo CD, and no Go to build it';
  tell(`Building Argo CD with Go into ${cache}: once, some ten minutes on two cores.`);
  return (await build(source, cache, env)) ?? (await inCache(cache)) ?? 'Go built no Argo CD, or no Redis';
}

async function inCache(cache: string): Promise<ArgocdPrograms | null> {
  const { argocd, redis } = await findPrograms([cache], ['argocd', 'redis']);
  return argocd === undefined || redis === undefined ? null : { argocd, redis, crds: join(cache, 'crds') };
}

async function keyOf(source: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of ['go.mod', 'go.sum', 'redis/main.go']) hash.update(await readFile(join(source, name)));
  return hash.digest('hex').slice(0, 16);
}

/** Null when it is done; else why it can't be. */
async function build(source: string, target: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const folder = `${target}.${String(process.pid)}`;
  const go = (...args: string[]): Promise<{ readonly stdout: string }> =>
    run('go', args, { cwd: source, env: { ...env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod -buildvcs=false' }, maxBuffer: 1e8 });
  await mkdir(folder, { recursive: true });
  try {
    await go('build', '-trimpath', '-ldflags', '-s -w', '-o', `${folder}/`, './redis', 'tool');
    const { stdout } = await go('list', '-m', '-f', '{{.Dir}}', 'github.com/argoproj/argo-cd/v3');
    // It calls itself by this name.
    await rename(join(folder, 'cmd'), join(folder, 'argocd'));
    await cp(join(stdout.trim(), 'manifests', 'crds'), join(folder, 'crds'), { recursive: true });
    // Its repo-server calls it for every commit.
    await cp(join(stdout.trim(), 'hack', verifier), join(folder, verifier));
    await chmod(join(folder, verifier), 0o755);
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    return null;
  } catch (error) {
    return `Go could not build Argo CD: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
