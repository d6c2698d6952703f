import { z } from 'zod';
import { settingsSchema } from './settings-schema.ts';

/** One setting: where it stands in the file, and its other names. */
export interface SettingKey {
  /** `git.branch` */
  readonly path: string;
  readonly description: string;
  readonly schema: z.core.$ZodType;
  /** `DORY_GIT_BRANCH` */
  readonly variable: string;
  /** The variable belongs to other programs as well: it counts only where nothing else is set. */
  readonly weakVariable: boolean;
  /** `git-branch`, given as `--git-branch`; null for secrets, which everybody on the machine could read there. */
  readonly flag: string | null;
  /** The value must not be shown. */
  readonly secret: boolean;
}

/** The names of the running system that don't follow from the path. */
const flags: Readonly<Record<string, string>> = { 'database.url': 'config-db' };
/** The database's URL holds a password as well, but the running system's Deployment gives it by a flag. */
const unsafeFlags: ReadonlySet<string> = new Set(['git.token', 'argocd.webhookSecret', 'stateToken']);
const weakVariables: Readonly<Record<string, string>> = { kubeconfig: 'KUBECONFIG' };

/** All settings, in the order of the schema. */
export const settingKeys: readonly SettingKey[] = keysOf(settingsSchema, []);

function keysOf(section: z.ZodObject, above: readonly string[]): SettingKey[] {
  return Object.entries<z.core.$ZodType>(section.shape).flatMap(([name, schema]) => {
    const parts = [...above, name];
    return schema instanceof z.ZodObject ? keysOf(schema, parts) : [keyOf(parts, schema)];
  });
}

function keyOf(parts: readonly string[], schema: z.core.$ZodType): SettingKey {
  const path = parts.join('.');
  const { description = '', secret } = z.globalRegistry.get(schema) ?? {};
  const flag = unsafeFlags.has(path) ? null : (flags[path] ?? words(parts).join('-'));
  return {
    path,
    description,
    schema,
    variable: weakVariables[path] ?? `DORY_${words(parts).join('_').toUpperCase()}`,
    weakVariable: path in weakVariables,
    flag,
    secret: secret === true,
  };
}

/** `['git', 'headCheckInterval']` → `['git', 'head', 'check', 'interval']` */
function words(parts: readonly string[]): readonly string[] {
  return parts.flatMap((part) => part.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(' '));
}
