import { createHash } from 'node:crypto';
import { access, constants, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { packageRoot } from '../../platform/package-root.ts';

const programs = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubectl', 'kwok'] as const;
type Program = (typeof programs)[number];
/** Each program's path. */
export type ControlPlanePrograms = Readonly<Record<Program, string>>;

/** What was found, and what was not. */
export type FoundPrograms =
  | { readonly complete: true; readonly programs: ControlPlanePrograms }
  /** `cache`: the folder into which those that `test/control-plane/go.mod` names are built; `source`: where that is. */
  | { readonly complete: false; readonly missing: readonly string[]; readonly cache: string; readonly source: string };

/**
 * The programs of a control plane: those in the folder that `KUBEBUILDER_ASSETS` names, else those on the PATH, else those that the cluster
 * tests built into the user's cache.
 */
export async function findControlPlane(env: Readonly<Record<string, string | undefined>>): Promise<FoundPrograms> {
  const assets = env['KUBEBUILDER_ASSETS'];
  const found = await findPrograms([...(assets === undefined ? [] : [assets]), ...pathOf(env)], programs);
  const source = join(packageRoot(), 'test', 'control-plane');
  const cache = join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dory', 'control-plane', await keyOf(source));
  // Those that are given go first, one by one: a newer API server can be tested against.
  const all = { ...(await findPrograms([cache], programs)), ...found };
  if (isComplete(all)) return { complete: true, programs: all };
  return { complete: false, missing: programs.filter((name) => all[name] === undefined), cache, source };
}

export function pathOf(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  return (env['PATH'] ?? '').split(delimiter);
}

/** The first of each name that can be run. */
export async function findPrograms<Name extends string>(folders: readonly string[], names: readonly Name[]): Promise<Partial<Record<Name, string>>> {
  const found: Partial<Record<Name, string>> = {};
  for (const name of names) {
    for (const folder of folders) {
      const file = join(folder, name);
      if (found[name] === undefined && (await access(file, constants.X_OK).then(() => true, () => false))) found[name] = file;
    }
  }
  return found;
}

/** By what they are built from; an installation without the tests' sources has built none. */
async function keyOf(source: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of ['go.mod', 'go.sum']) hash.update(await readFile(join(source, name)).catch(() => ''));
  return hash.digest('hex').slice(0, 16);
}

function isComplete(found: Partial<Record<Program, string>>): found is ControlPlanePrograms {
  return programs.every((name) => found[name] !== undefined);
}
