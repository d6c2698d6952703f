import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findControlPlane, findPrograms, pathOf, type ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';

const run = promisify(execFile);

/** The programs of a control plane that are there, else those that Go builds from `test/control-plane/go.mod`, once. A text says why there are none. */
export async function controlPlanePrograms(env: NodeJS.ProcessEnv, tell: (text: string) => void): Promise<ControlPlanePrograms | string> {
  const found = await findControlPlane(env);
  if (found.complete) return found.programs;
  const { missing, source, cache } = found;
  const names = missing.join(', ');
  if ((await findPrograms(pathOf(env), ['go'])).go === undefined) return `no ${names} in KUBEBUILDER_ASSETS or on the PATH, and no Go to build them`;
  tell(`Building ${names} with Go into ${cache}: once, some six minutes on two cores.`);
  const failure = await build(source, cache, env);
  if (failure !== null) return failure;
  const built = await findControlPlane(env);
  return built.complete ? built.programs : `Go built no ${built.missing.join(', ')}`;
}

/** Null when it is done; else why it can't be. Two at once do the work twice, and neither sees half of the other's. */
async function build(source: string, target: string, env: NodeJS.ProcessEnv): Promise<string | null> {
  const folder = `${target}.${String(process.pid)}`;
  await mkdir(folder, { recursive: true });
  try {
    const mod = await readFile(join(source, 'go.mod'), 'utf8');
    const [version = '', major = '', minor = ''] = /^\tk8s\.io\/kubernetes (v(\d+)\.(\d+)\.\S+)/m.exec(mod)?.slice(1) ?? [];
    // What the release's own build writes into it: without, it calls itself v0.0.0.
    const values = Object.entries({ gitVersion: version, gitMajor: major, gitMinor: minor }).map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
    // `tool` is every tool of go.mod.
    await run('go', ['build', '-trimpath', '-ldflags', ['-s', '-w', ...values].join(' '), '-o', `${folder}/`, 'tool'], { cwd: source, env: { ...env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod -buildvcs=false' }, maxBuffer: 1e8 });
    await rename(join(folder, 'server'), join(folder, 'etcd'));
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    return null;
  } catch (error) {
    return `Go could not build the control plane: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
