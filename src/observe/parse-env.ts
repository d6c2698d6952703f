import type { EnvVar, SecretKey } from '../model/fleet.ts';
import { byText } from '../model/ids.ts';
import { isEnvName, isEnvValue, isManifestText } from '../model/kubernetes-names.ts';
import { at, reject, report, type Section } from './parse-json.ts';
import { judgeOf, type KeyJudge } from './secrets.ts';

/**
 * Makes a variable with its value, or with the place of its value where it is a credential: the Secret `secret`, under the same name.
 * `certain`: it is one, whatever it looks like.
 */
export type MakeEnvVar = (name: string, value: string, secret: SecretKey['name'], certain?: boolean) => EnvVar;

/**
 * Fleets have thousands of sensors whose settings are mostly the same, so what was judged once is remembered, and equal
 * variables are one object. Credentials are not remembered.
 */
export function envVarMaker(): MakeEnvVar {
  const judges = new Map<string, { readonly judge: KeyJudge; readonly plain: Map<string, EnvVar> }>();
  return (name, value, secret, certain = false) => {
    if (certain) return secretVar(name, secret);
    const known = judges.get(name) ?? { judge: judgeOf(name), plain: new Map<string, EnvVar>() };
    judges.set(name, known);
    const before = known.plain.get(value);
    if (before !== undefined) return before;
    if (known.judge.isCredential(value)) return secretVar(name, secret);
    const made = { name, value };
    known.plain.set(value, made);
    return made;
  };
}

/** Keys in code-unit order, as in all that a spec is made of: its JSON is canonical then, without sorting (`specDigest`). */
function secretVar(name: string, secret: SecretKey['name']): EnvVar {
  return { name, secret: { key: name, name: secret } };
}

export function byName(a: EnvVar, b: EnvVar): number {
  return byText(a.name, b.name);
}

/** `env_vars` of a template, sorted. Unknown names pass; a value that is no string would not even be read by the running system. */
export function parseEnv(section: Section, secret: SecretKey['name'], make: MakeEnvVar): readonly EnvVar[] {
  const env: EnvVar[] = [];
  for (const [name, value] of Object.entries(section.fields)) {
    if (!isEnvName(name) || !isManifestText(name)) {
      report(section, 'invalid-name', at(section, name), null, 'Rename it: letters, digits, _, - and ., not beginning with a digit.');
    } else if (typeof value !== 'string') {
      reject(section, name, 'invalid-value', 'Put the value in quotes: environment variables are strings.');
    } else if (value.includes('\0')) {
      reject(section, name, 'invalid-value', 'Remove the NUL character.');
    } else {
      const made = make(name, value, secret);
      env.push(made);
      if (!canBeWritten(made)) reject(section, name, 'invalid-value', unwritable);
    }
  }
  return env.sort(byName);
}

/** Whether a manifest can hold it. What is a credential stays out of manifests, whatever it is. */
export function canBeWritten(variable: EnvVar): boolean {
  return !('value' in variable) || isEnvValue(variable.value);
}

export const unwritable = 'Write at most 131072 characters, without control characters, and not a number such as 0o17: no manifest can hold it.';

/**
 * The text of a variable that the manifest itself depends on, if it is set and `valid`. One that was taken for a credential
 * is no longer known here.
 */
export function readSetting(section: Section, env: readonly EnvVar[], name: string, { valid, mend }: SettingRule): string | undefined {
  const found = env.find((each) => each.name === name);
  if (found === undefined) return undefined;
  if ('value' in found && valid(found.value)) return found.value;
  reject(section, name, 'invalid-value', mend);
  return undefined;
}

export interface SettingRule {
  readonly valid: (text: string) => boolean;
  readonly mend: string;
}
