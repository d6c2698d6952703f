import { Yaml } from 'cdk8s';
import { defaultSystemProps, type SystemProps } from './props.ts';

/** Where things are in the orchestrator's container. */
export const paths = {
  data: '/var/lib/dory',
  settings: '/etc/dory',
  settingsFile: '/etc/dory/dory.yaml',
  gitSecret: '/etc/dory-git',
} as const;

/**
 * The settings file of the program that these manifests start. It carries the section `system` that they were rendered from, so
 * that the program, which commits its own manifests too, renders the same ones again.
 */
export function settingsFile({ shared, ...section }: SystemProps): string {
  const system = changed(section);
  return Yaml.stringify({
    cluster: shared.cluster,
    imagePullSecret: shared.imagePullSecret,
    databaseSecret: shared.databaseSecret,
    databaseSecretKey: shared.databaseSecretKey,
    ...(shared.writeSecrets ? {} : { writeSecrets: false }),
    dataDir: paths.data,
    ...(section.apply === 'none' ? {} : { apply: section.apply }),
    ...(section.apply === 'argocd' ? { argocd: { namespace: section.argocdNamespace } } : {}),
    git: { url: section.git.url, branch: section.git.branch, ...gitCredentials(section.git) },
    ...(Object.keys(system).length > 0 ? { system } : {}),
  });
}

/** The keys of the Git Secret, as files. `ssh-privatekey` is that of Kubernetes' own type `kubernetes.io/ssh-auth`. */
function gitCredentials({ credentials, signCommits }: SystemProps['git']): Readonly<Record<string, string>> {
  return {
    ...(credentials === 'token' ? { tokenFile: `${paths.gitSecret}/token` } : {}),
    ...(credentials === 'ssh' ? { sshKeyFile: `${paths.gitSecret}/ssh-privatekey`, sshKnownHostsFile: `${paths.gitSecret}/known_hosts` } : {}),
    ...(signCommits ? { signingKeyFile: `${paths.gitSecret}/signing-key` } : {}),
  };
}

/** The members of the section that are not as in the defaults: what a person would write. */
function changed(section: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const defaults: Readonly<Record<string, unknown>> = { ...defaultSystemProps };
  return Object.fromEntries(Object.entries(section).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(defaults[key])));
}
