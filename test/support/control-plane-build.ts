import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, constants, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../src/platform/package-root.ts';

const run = promisify(execFile);

const programs = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl', 'kwok'] as const;
type Program = (typeof programs)[number];
/** Each program's path. */
export type ControlPlanePrograms = Readonly<Record<Program, string>>;

/**
 * The programs of a control plane: those in the folder that `KUBEBUILDER_ASSETS` names, else those on the PATH, else those that Go builds from
 * `test/control-plane/go.mod`, once, into the user's cache. A text says why there are none.
 */
export async function controlPlanePrograms(env: NodeJS.ProcessEnv, tell: (text: string) => void): Promise<ControlPlanePrograms | string> {
  const assets = env['KUBEBUILDER_ASSETS'];
  const path = (env['PATH'] ?? '').split(delimiter);
  const found = await find([...(assets === undefined ? [] : [assets]), ...path], programs);
  if (isComplete(found)) return found;
  const source = join(packageRoot(), 'test', 'control-plane');
  const cache = join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dory', 'control-plane', await keyOf(source));
  const cached = await find([cache], programs);
  if (!isComplete(cached)) {
    const missing = programs.filter((name) => found[name] === undefined).join(', ');
    if ((await find(path, ['go'])).go === undefined) return `no ${missing} in KUBEBUILDER_ASSETS or on the PATH, and no Go to build them`;
    tell(`Building ${missing} with Go into ${cache}: once, some six minutes on two cores.`);
    const failure = await build(source, cache, env);
    if (failure !== null) return failure;
  }
  // Those that are given go first, one by one: a newer API server can be tested against.
  return { ...((await find([cache], programs)) as ControlPlanePrograms), ...found };
}

async function keyOf(source: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of ['go.mod', 'go.sum']) hash.update(await readFile(join(source, name)));
  return hash.digest('hex').slice(0, 16);
}

async function find<Name extends string>(folders: readonly string[], names: readonly Name[]): Promise<Partial<Record<Name, string>>> {
  const found: Partial<Record<Name, string>> = {};
  for (const name of names) {
    for (const folder of folders) {
      const file = join(folder, name);
      if (found[name] === undefined && (await access(file, constants.X_OK).then(() => true, () => false))) found[name] = file;
    }
  }
  return found;
}

function isComplete(found: Partial<Record<Program, string>>): found is ControlPlanePrograms {
  return programs.every((name) => found[name] !== undefined);
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
