import type { PoolClient } from 'pg';
import type { EnvVar } from '../model/fleet.ts';

/** How often the credentials of each Secret were replaced, counted from 1; those that never were are left out. */
export type SecretVersions = ReadonlyMap<string, number>;

/** An expression that rises with every replacement: versions only rise, and no row is ever deleted. */
export const rotationsSql = '(select coalesce(sum(version), 0)::text from dory.secret_versions)';

export async function readSecretVersions(client: PoolClient): Promise<SecretVersions> {
  const { rows } = await client.query<{ name: string; version: number }>('select name, version from dory.secret_versions where version > 1');
  return new Map(rows.map(({ name, version }) => [name, version]));
}

/**
 * What the manifest says of the Secrets that these variables refer to: `env=2,sensor=3`, by the kind of each; undefined while
 * none was ever replaced, so that a fleet without rotations is rendered, and digested, as it always was.
 */
export function versionsShown(versions: SecretVersions, lists: readonly (readonly EnvVar[])[]): string | undefined {
  if (versions.size === 0) return undefined;
  const shown = lists.flatMap((env) => {
    const name = env.flatMap((each) => ('secret' in each ? [each.secret.name] : []))[0];
    const version = name === undefined ? undefined : versions.get(name);
    return name === undefined || version === undefined ? [] : [`${/^dory-([a-z]+)-/.exec(name)?.[1] ?? name}=${String(version)}`];
  });
  return shown.length === 0 ? undefined : shown.join(',');
}
