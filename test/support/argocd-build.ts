import { chmod, cp, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { findPrograms, pathOf } from '../../src/cli/demo/control-plane-programs.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { cacheFolder, goBuild, type Go } from './go-build.ts';

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
  const cache = await cacheFolder('argocd', source, ['go.mod', 'go.sum', 'redis/main.go'], env);
  const found = await inCache(cache);
  if (found !== null) return found;
  if ((await findPrograms(pathOf(env), ['go'])).go === undefined) return 'no Argo CD, and no Go to build it';
  tell(`Building Argo CD with Go into ${cache}: once, some ten minutes on two cores.`);
  return (await goBuild(cache, { source, env, packages: ['./redis', 'tool'], finish })) ?? (await inCache(cache)) ?? 'Go built no Argo CD, or no Redis';
}

async function inCache(cache: string): Promise<ArgocdPrograms | null> {
  const { argocd, redis } = await findPrograms([cache], ['argocd', 'redis']);
  return argocd === undefined || redis === undefined ? null : { argocd, redis, crds: join(cache, 'crds') };
}

async function finish(folder: string, go: Go): Promise<void> {
  const module = (await go('list', '-m', '-f', '{{.Dir}}', 'github.com/argoproj/argo-cd/v3')).trim();
  // It calls itself by this name.
  await rename(join(folder, 'cmd'), join(folder, 'argocd'));
  await cp(join(module, 'manifests', 'crds'), join(folder, 'crds'), { recursive: true });
  // Its repo-server calls it for every commit.
  await cp(join(module, 'hack', verifier), join(folder, verifier));
  await chmod(join(folder, verifier), 0o755);
}
