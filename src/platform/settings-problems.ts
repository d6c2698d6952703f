import type { z } from 'zod';
import { conflictsOfPolicy, conflictsOfThresholds } from '../model/policy-conflicts.ts';
import { editDistance, nearest } from './nearest.ts';
import { settingKeys } from './settings-keys.ts';
import type { Settings } from './settings-schema.ts';

/**
 * What is wrong with a value, as lines for a person: key, value unless it is secret, where it was given, and what it must be.
 * `valueAt` and `originOf` answer for a path such as `git.branch`.
 */
export function describeIssue(issue: z.core.$ZodIssue, valueAt: (path: string) => unknown, originOf: (path: string) => string): readonly string[] {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((name) => {
      const unknown = path === '' ? name : `${path}.${name}`;
      const meant = nearestKey(unknown);
      return `${unknown} (${originOf(unknown)}): there is no such setting${meant === null ? '' : `; did you mean ${meant}?`}`;
    });
  }
  const key = settingKeys.find((candidate) => path === candidate.path || path.startsWith(`${candidate.path}.`));
  if (key === undefined) return [`${path} (${originOf(path)}) must be a section of settings`];
  const value = valueAt(key.path);
  const shown = key.secret || value === undefined ? '' : ` is ${shorten(JSON.stringify(value))} and`;
  return [`${key.path} (${originOf(key.path)})${shown} must be ${issue.message}`];
}

/** A path, or the last name of one, that looks like what was written; sections count as well. */
function nearestKey(unknown: string): string | null {
  const paths = settingKeys.flatMap(({ path }) => [path, ...(path.includes('.') ? [path.slice(0, path.lastIndexOf('.'))] : [])]);
  const sameName = paths.find((path) => path.split('.').at(-1) === unknown.split('.').at(-1));
  return nearest(unknown, paths) ?? sameName ?? null;
}

/**
 * Variables that look like one of ours and are not: with two letters wrong it is a slip, with more it may be anybody's, such as
 * those that Kubernetes makes for a Service named `dory-…`.
 */
export function misspelledVariables(env: Readonly<Record<string, string | undefined>>, others: readonly string[]): readonly string[] {
  const known = [...settingKeys.map(({ variable }) => variable), ...others];
  return Object.keys(env)
    .filter((name) => name.startsWith('DORY_') && !known.includes(name))
    .sort()
    .flatMap((name) => {
      const meant = known.find((candidate) => editDistance(name, candidate) <= 2);
      return meant === undefined ? [] : [`${name}: there is no such variable; did you mean ${meant}?`];
    });
}

/** What is wrong with settings together, each of which is valid by itself. */
export function conflicts(settings: Settings): readonly string[] {
  const { git, argocd } = settings;
  const plain = git.url?.startsWith('http://') === true && !/^http:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/]|$)/.test(git.url);
  const rules: readonly (readonly [boolean, string])[] = [
    [git.token !== null && git.tokenFile !== null, 'git.token and git.tokenFile: set one of them'],
    [argocd.webhookSecret !== null && argocd.webhookSecretFile !== null, 'argocd.webhookSecret and argocd.webhookSecretFile: set one of them'],
    [settings.apply === 'argocd' && argocd.repoUrl === null && !isShared(git.url), 'argocd.repoUrl: Argo CD clones the repository, and git.url is not set or is a path of this machine; set the address by which Argo CD reaches it'],
    [settings.apply === 'argocd' && argocd.notify === 'webhook' && argocd.webhookUrl === null, 'argocd.webhookUrl: the webhook needs it, or set argocd.notify to refresh or none'],
    [settings.apply === 'argocd' && argocd.notify === 'webhook' && argocd.webhookSecret === null && argocd.webhookSecretFile === null, 'argocd.webhookSecretFile: the webhook is signed; set it or argocd.webhookSecret'],
    [plain && (git.token !== null || git.tokenFile !== null), 'git.url: a token must not travel over http; use https'],
  ];
  return [...rules.filter(([wrong]) => wrong).map(([, line]) => line), ...policyConflicts(settings)];
}

/** Whether others reach a repository by this address. */
function isShared(url: string | null): boolean {
  return url !== null && (/^(?:https?|ssh):/.test(url) || /^[\w.-]+@[\w.-]+:/.test(url));
}

/** Of what holds for all, and of what single templates and processors have over it. */
function policyConflicts({ failover, policies, heartbeats }: Settings): readonly string[] {
  const own = policies.flatMap(({ match, ...fields }) => {
    const merged = { ...failover, ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) };
    const unsafe = fields.unfenced === undefined ? [] : conflictsOfThresholds(merged, merged.unfenced, heartbeats.interval).filter(({ code }) => code === 'stale-below-beats');
    return [...conflictsOfPolicy(merged), ...unsafe].map(({ sentence }) => `policies, ${match}: ${sentence}`);
  });
  const all = [...conflictsOfThresholds(failover, failover.unfenced, heartbeats.interval), ...conflictsOfPolicy(failover)];
  return [...all.map(({ sentence }) => `failover: ${sentence}`), ...own];
}

function shorten(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}
