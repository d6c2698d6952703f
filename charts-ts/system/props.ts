import { z } from 'zod';
import { Failure } from '../../src/model/failure.ts';
import { isDataKey, isDnsLabel, isDnsSubdomain, isEnvName, isImageReference, isResourceQuantity } from '../../src/model/kubernetes-names.ts';

/**
 * What the system's own manifests leave to the installation: the section `system` of the settings file. Everything else in them is what the
 * running system is deployed with. Defaults stand here, their reasons in README.md beside this file. Errors are worded to follow "must be".
 */

const text = (expected: string, accepts: (value: string) => boolean = () => true) =>
  z.string({ error: expected }).refine((value) => value !== '' && accepts(value), { error: expected });
const name = () => text('a name that Kubernetes accepts: lower-case letters, digits, - and .', isDnsSubdomain);
const label = () => text('a DNS label: lower-case letters, digits and -, up to 63', isDnsLabel);
const quantity = () => text('a quantity such as 500m or 2Gi', isResourceQuantity);
const quantities = (defaults: Readonly<Record<string, string>>) => z.record(z.string(), text('a quantity or a share such as 10%', (value) => isResourceQuantity(value) || /^\d{1,2}%$/.test(value))).default({ ...defaults });
const duration = () => text('a duration such as 10s or 1m30s', (value) => /^(?:\d+(?:h|m|s|ms))+$/.test(value));

/** Settings whose values can be secrets have no place in a manifest; the others are in it already. */
const takenVariables = new Set([
  'DORY_DATABASE_URL', 'DORY_GIT_TOKEN', 'DORY_GIT_URL', 'DORY_ARGOCD_WEBHOOK_SECRET',
  'DATABASE_URL', 'NAMESPACE', 'POLL_INTERVAL', 'LOG_LEVEL', 'DORY_STATE_TOKEN', 'DORY_CONFIG', 'HOME',
]);
const isFreeVariable = (variable: string): boolean => isEnvName(variable) && !takenVariables.has(variable);

const git = z.strictObject({
  url: text('a URL without user or password', (value) => !/:\/\/[^/]*:[^/]*@/.test(value)).default('<GIT_URL>'),
  branch: text('a branch').default('main'),
  credentials: z.enum(['none', 'token', 'ssh'], { error: 'none, token or ssh' }).default('token'),
  secret: name().default('dory-git-secret'),
  signCommits: z.boolean({ error: 'true or false' }).default(false),
});

const data = z.strictObject({
  volume: z.enum(['emptyDir', 'claim'], { error: 'emptyDir or claim' }).default('emptyDir'),
  size: quantity().default('2Gi'),
  storageClass: name().nullable().default(null),
});

/** Two virtual processors and 17 pods (t3.medium, the largest type of the pool), by the formula of EKS' own images. */
const kubelet = z.strictObject({
  kubeReserved: quantities({ cpu: '70m', memory: '442Mi', 'ephemeral-storage': '1Gi' }),
  systemReserved: quantities({ cpu: '100m', memory: '100Mi', 'ephemeral-storage': '1Gi' }),
  evictionHard: quantities({ 'memory.available': '100Mi', 'nodefs.available': '10%', 'nodefs.inodesFree': '5%' }),
});

const scrape = { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '8080', 'prometheus.io/path': '/metrics' };

export const systemSchema = z
  .strictObject({
    accountId: text('an account id').default('<ACCOUNT_ID>'),
    region: text('a region').default('us-east-2'),
    eksCluster: text('the name of the EKS cluster').default('dory-demo'),
    namespace: label().default('dory-system'),
    image: text('an image', isImageReference).nullable().default(null),
    replicas: z.int({ error: 'a whole number from 1 to 9' }).min(1, { error: 'a whole number from 1 to 9' }).max(9, { error: 'a whole number from 1 to 9' }).default(1),
    processorNamespace: label().default('default'),
    pollInterval: duration().default('10s'),
    logLevel: text('a log level').default('info'),
    env: z.record(text('a variable that holds no secret and is not in the manifest already', isFreeVariable), z.string({ error: 'a text' })).default({}),
    scrapeAnnotations: z.record(z.string(), z.string({ error: 'a text' })).default(scrape),
    apply: z.enum(['none', 'ssa', 'argocd'], { error: 'none, ssa or argocd' }).default('none'),
    argocdNamespace: label().default('argocd'),
    git: git.prefault({}),
    data: data.prefault({}),
    nodeExpireAfter: text('a duration such as 720h, or Never', (value) => /^(?:(?:\d+[smh])+|Never)$/.test(value)).default('720h'),
    kubelet: kubelet.prefault({}),
    beacon: z
      .strictObject({
        enabled: z.boolean({ error: 'true or false' }).default(false),
        image: text('an image', isImageReference).default('busybox:1.37'),
        url: text('a URL such as http://dory.example.com:8080', (value) => /^https?:\/\/[^\s/@"$`]+$/.test(value)).nullable().default(null),
        tokenFolder: text('the absolute path of a folder, such as /etc/dory-beacon', (value) => /^(?:\/(?!\.{1,2}(?:\/|$))[^/\s]+)+$/.test(value)).nullable().default(null),
      })
      .prefault({}),
    monitoring: z
      .strictObject({
        dashboard: z.boolean({ error: 'true or false' }).default(true),
        rules: z.enum(['none', 'configMap', 'prometheusRule'], { error: 'none, configMap or prometheusRule' }).default('configMap'),
        ruleLabels: z.record(z.string(), z.string({ error: 'a text' })).default({}),
      })
      .prefault({}),
    ecrRefresh: z
      .strictObject({
        image: text('an image', isImageReference).default('alpine/k8s:1.34.1'),
        roleArn: text('the ARN of an IAM role', (value) => value.startsWith('arn:')).nullable().default(null),
      })
      .prefault({}),
  })
  .refine(({ replicas, data: { volume } }) => replicas === 1 || volume === 'emptyDir', {
    path: ['data', 'volume'],
    error: 'emptyDir where there are several replicas: one claim is mounted by one node',
  });

/** Settings of the program itself that its manifests repeat, by the same names. */
interface SharedSettings {
  /** `clusters/<cluster>/` is our folder in the repository. */
  readonly cluster: string;
  /** The docker-registry Secret that the token refresh writes. */
  readonly imagePullSecret: string;
  readonly databaseSecret: string;
  readonly databaseSecretKey: string;
  /** Whether the program writes credentials to Secrets. */
  readonly writeSecrets: boolean;
}

/** As a settings file has them: what it leaves out is the program's default. */
type GivenSettings = Omit<SharedSettings, 'writeSecrets'> & { readonly writeSecrets?: boolean };

const sharedSchema = z.object({
  cluster: label(),
  imagePullSecret: name(),
  databaseSecret: name(),
  databaseSecretKey: text('a key of a Secret', isDataKey),
  writeSecrets: z.boolean({ error: 'true or false' }).default(true),
});

type SystemSection = Readonly<z.output<typeof systemSchema>>;
export type SystemProps = SystemSection & { readonly shared: SharedSettings };

/**
 * The section `system` of the settings, as read from YAML, with defaults where it is silent.
 * @throws Failure `settings-invalid`, whose message has a line for each thing that is wrong.
 */
export function systemProps(section: unknown, shared: GivenSettings): SystemProps {
  const parsed = systemSchema.safeParse(section);
  const repeated = sharedSchema.safeParse(shared);
  if (parsed.success && repeated.success) return { ...parsed.data, shared: repeated.data };
  const problems = [
    ...(parsed.error?.issues ?? []).map((issue) => problem(issue, ['system'])),
    ...(repeated.error?.issues ?? []).map((issue) => problem(issue, [])),
  ];
  throw new Failure('settings-invalid', ['The settings of the system\'s own manifests are not valid:', ...problems].join('\n  '), {
    mend: 'charts-ts/system/README.md has each of them, with what it is for.',
  });
}

function problem(issue: z.core.$ZodIssue, above: readonly string[]): string {
  const path = [...above, ...issue.path.map(String)].join('.');
  if (issue.code === 'unrecognized_keys') return `${path}: there is no setting ${issue.keys.join(', ')}`;
  return `${path} must be ${issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message}`;
}

export const defaultSystemProps: SystemProps = systemProps({}, {
  cluster: 'example',
  imagePullSecret: 'ecr-registry-secret',
  databaseSecret: 'dory-db-secret',
  databaseSecretKey: 'database-url',
});
