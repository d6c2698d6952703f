import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { findPrograms, pathOf } from '../../src/cli/demo/control-plane-programs.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { cacheFolder, goBuild, type Go } from './go-build.ts';

/** What it needs can't be had as Go modules; its kinds can. */
const sourceController = 'github.com/fluxcd/source-controller@v1.9.5';
/** All that the controller watches. */
const crds = [...['gitrepositories', 'buckets', 'ocirepositories', 'externalartifacts'].map((kind) => `source.toolkit.fluxcd.io_${kind}.yaml`), 'kustomize.toolkit.fluxcd.io_kustomizations.yaml'];

export interface FluxPrograms {
  readonly kustomizeController: string;
  /** CustomResourceDefinitions. */
  readonly crds: readonly string[];
}

/** Flux's kustomize-controller as `test/flux/go.mod` names it, built by Go into the user's cache, once. A text says why there is none. */
export async function fluxPrograms(env: NodeJS.ProcessEnv, tell: (text: string) => void): Promise<FluxPrograms | string> {
  const source = join(packageRoot(), 'test', 'flux');
  const cache = await cacheFolder('flux', source, ['go.mod', 'go.sum'], env);
  const found = await inCache(cache);
  if (found !== null) return found;
  if ((await findPrograms(pathOf(env), ['go'])).go === undefined) return "no kustomize-controller of Flux's, and no Go to build it";
  tell(`Building Flux's kustomize-controller with Go into ${cache}: once, some minutes on two cores.`);
  return (await goBuild(cache, { source, env, packages: ['tool'], finish })) ?? (await inCache(cache)) ?? 'Go built no kustomize-controller';
}

async function inCache(cache: string): Promise<FluxPrograms | null> {
  const found = (await findPrograms([cache], ['kustomize-controller']))['kustomize-controller'];
  return found === undefined ? null : { kustomizeController: found, crds: crds.map((name) => join(cache, name)) };
}

async function finish(folder: string, go: Go): Promise<void> {
  const { Dir: sources } = JSON.parse(await go('mod', 'download', '-json', sourceController)) as { readonly Dir: string };
  const kustomize = (await go('list', '-m', '-f', '{{.Dir}}', 'github.com/fluxcd/kustomize-controller')).trim();
  for (const name of crds) await cp(join(name.startsWith('source') ? sources : kustomize, 'config', 'crd', 'bases', name), join(folder, name));
}
