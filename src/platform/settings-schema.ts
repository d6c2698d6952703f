import { z } from 'zod';
import { isDataKey, isDnsLabel, isDnsSubdomain } from '../model/kubernetes-names.ts';
import type { DailyWindow } from '../model/snapshot.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import { durationPattern, parseDuration } from './durations.ts';
import { logLevels } from './log.ts';

/**
 * Every setting, by its place in the YAML file: what it accepts, and in `describe` what it is for. Defaults and their reasons are in
 * `config/defaults.yaml`. Errors are worded to follow "must be".
 */

const text = (expected: string, accepts: (value: string) => boolean) =>
  z.string({ error: expected }).refine((value) => value !== '' && accepts(value), { error: expected });
const anyText = (expected: string) => text(expected, () => true);
const whole = (min: number, max: number) => {
  const error = `a whole number from ${String(min)} to ${String(max)}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};
const yesOrNo = () => z.boolean({ error: 'true or false' });
const oneOf = <const Values extends readonly [string, ...string[]]>(...values: Values) => z.enum(values, { error: `one of ${values.join(', ')}` });
const path = () => anyText('a path');

/** A duration in Go's form, read as milliseconds. `min` in milliseconds. */
const duration = (min: Millis, expected: string) =>
  z
    .string({ error: expected })
    .regex(durationPattern, { error: expected, abort: true })
    .transform((value, context): Millis => {
      const parsed = parseDuration(value);
      if (parsed !== null && parsed >= min) return parsed;
      context.issues.push({ code: 'custom', message: expected, input: value });
      return z.NEVER;
    });
const second = (least: number) => duration(seconds(least), `a duration of at least ${String(least)}s, such as 30s or 1m30s`);
const limit = () => duration(seconds(0), 'a duration such as 30s or 1m30s, or 0 for none');

const share = () => {
  const error = 'a share above 0 and up to 1, such as 0.1';
  return z.number({ error }).gt(0, { error }).max(1, { error });
};
const listOf = <const Values extends readonly [string, ...string[]]>(...values: Values) => {
  const error = `a list of ${values.join(', ')}`;
  return z.array(z.enum(values, { error }), { error }).min(1, { error });
};
/** `22:00-04:30`, read as minutes of the day. */
const dailyWindow = () => {
  const error = 'a time of day in UTC such as 02:00-04:00';
  return z.string({ error }).regex(/^(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d$/, { error, abort: true }).transform((value): DailyWindow => {
    const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = value.split(/[:-]/).map(Number);
    return { fromMinute: fromHour * 60 + fromMinute, toMinute: toHour * 60 + toMinute };
  });
};

const dnsLabel = () => text('a DNS label: lower-case letters, digits and -, up to 63', isDnsLabel);
const objectName = () => text('a name that Kubernetes accepts: lower-case letters, digits, - and .', isDnsSubdomain);

const database = z.strictObject({
  url: text('a URL such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE', isDatabaseUrl).nullable().meta({ description: 'The database; null starts one of our own under dataDir.', secret: true }),
  poolSize: whole(1, 1000).describe('Most connections at once, beside the few for heartbeats, leadership and notifications.'),
  statementTimeout: limit().describe('A statement that runs longer is cancelled.'),
});

const git = z.strictObject({
  url: text('a path, or a URL of file, https, http or ssh without a password', isRemote)
    .nullable()
    .meta({ description: 'The repository that is written; null makes a bare one under dataDir.', secret: true }),
  branch: text('a branch that Git accepts, such as main', isBranch).describe('The branch that is written.'),
  authorName: anyText('a name').describe('Author of the commits.'),
  authorEmail: anyText('an address').describe("The author's address."),
  committerName: anyText('a name').nullable().describe('Committer of the commits; null: the author.'),
  committerEmail: anyText('an address').nullable().describe("The committer's address; null: the author's."),
  username: anyText('a name').describe('Goes with the token where the host wants a name.'),
  token: anyText('a token').nullable().meta({ description: 'Token for https. Better in the environment or in tokenFile.', secret: true }),
  tokenFile: path().nullable().describe('File that holds the token; read again when it changes.'),
  sshKeyFile: path().nullable().describe('Private key for ssh.'),
  sshKnownHostsFile: path().nullable().describe("The host's keys for ssh; null: those of the user who runs dory."),
  caFile: path().nullable().describe('Certificates that https trusts beside those of the system.'),
  signingKeyFile: path().nullable().describe('SSH key that signs the commits; null: unsigned.'),
  headCheckInterval: second(1).describe('How often the remote is asked whether somebody else wrote.'),
  coalesce: limit().describe('How long changes that are not failovers wait for others to share a commit.'),
  foreignEdits: oneOf('restore', 'hold').describe("What is done about other people's edits in our folder."),
});

const argocd = z.strictObject({
  repoUrl: text('a URL of https, http, ssh or file without a password', isSyncedRepository).nullable().describe('The repository as Argo CD reaches it; null: git.url.'),
  revision: anyText('a branch').nullable().describe('What Argo CD follows; null: refs/heads/ and git.branch.'),
  namespace: dnsLabel().describe('Namespace of Argo CD and of its Applications.'),
  project: objectName().nullable().describe('AppProject of the processors; null: dory- and the cluster.'),
  destination: anyText('a URL or a name').describe('The cluster as Argo CD knows it: URL of its API server, or its name.'),
  namespaces: z.array(text('a name or a pattern', (value) => /^[a-z0-9*?.[\]!-]+$/.test(value)), { error: 'a list such as default,plant-*' }).min(1, { error: 'a list such as default,plant-*' })
    .describe('Namespaces in which Argo CD may put processors; * stands for anything.'),
  notify: oneOf('refresh', 'webhook', 'none').describe('How Argo CD is told of a push: by an annotation of the Applications concerned, by a signed webhook, or not at all.'),
  webhookUrl: text('a URL of https or http without a password', isWebhookUrl).nullable().describe('Where the webhook goes, such as https://argocd.example.com/api/webhook.'),
  webhookSecret: anyText('a secret').nullable().meta({ description: 'What the webhook is signed with. Better in the environment or in webhookSecretFile.', secret: true }),
  webhookSecretFile: path().nullable().describe('File that holds it; read again for each webhook.'),
  webhookCaFile: path().nullable().describe('Certificates that the webhook trusts instead of those of the system.'),
  kubeconfig: path().nullable().describe('Client configuration of the cluster that Argo CD runs in; null: that of kubeconfig.'),
});

const failover = z.strictObject({
  heartbeatStale: second(1).describe('An edge node whose heartbeats stopped longer ago is lost, or silent if Kubernetes says that it is ready.'),
  notReadyGrace: second(1).describe('A node that is not Ready for longer has failed on the side of Kubernetes.'),
  startupGrace: second(1).describe('From a placement on a node until its first heartbeat is missed.'),
  stabilityWindow: second(0).describe('A node that is back must be steady this long before processors go home; doubled with each flap.'),
  longestWindow: second(0).describe('The longest stability window.'),
  flapMemory: second(1).describe('So long in good health makes one flap forgotten.'),
  heartbeatGap: second(1).describe('A break in a returning node\'s heartbeats longer than this starts the window anew.'),
  intakeFresh: second(1).describe('When heartbeats could last be stored, or the cluster last answered, longer ago than this, silence says nothing.'),
  lease: second(1).describe('An agent that honours leases stops by itself when it is not answered for so long.'),
  fenceMargin: second(0).describe("Added to a template's stop grace before silence counts as stopped."),
  fenceBound: second(1).describe('A stop that takes longer is told to a person.'),
  onFailure: oneOf('replace', 'hold', 'manual').describe('When a node fails: move its processors, leave them, or ask a person.'),
  failback: oneOf('auto', 'window', 'manual').describe('When home is fit again: go home, go within failbackWindow, or ask a person.'),
  failbackWindow: dailyWindow().nullable().describe('Time of day in UTC in which processors go home, such as 02:00-04:00.'),
  targets: listOf('failover-target', 'managed').describe('Where processors of a failed node go, in this order.'),
  writerAlive: oneOf('move', 'hold').describe('When a node is not ready and its agents beat: move its processors behind a fence, or leave them.'),
  unfenced: oneOf('replace', 'hold').describe('Whether the silence, or the word, of an agent that never proved that it honours leases may be taken for its end: replace it then, or leave it.'),
  stateLoss: oneOf('refuse', 'accept').describe('State that stays on the node: never leave without it, or start without it.'),
});

const guard = z.strictObject({
  window: second(1).describe('Nodes that failed within this time are newly unhealthy.'),
  degradedShare: share().describe('Share of nodes newly unhealthy from which failovers slow down.'),
  panicShare: share().describe('Share of nodes newly unhealthy from which failovers are frozen.'),
  minNodes: whole(1, 1_000_000).describe('Fewer newly unhealthy nodes never slow or freeze anything.'),
  ratePerSecond: whole(1, 100_000).describe('Failovers a second while the fleet is degraded.'),
  burst: whole(1, 1_000_000).describe('Failovers at once while the fleet is degraded.'),
  lateBeat: second(1).describe('A healthy node whose last beat is older has missed beats; more than half of them, and intake has fallen.'),
});

const rollout = z.strictObject({
  progressDeadline: second(1).describe('A placement that the cluster does not run by then, without saying why, has failed: progressDeadlineSeconds of a Deployment.'),
  startGrace: second(0).describe('How long a pod may wait for a node, or for what it needs on its node, before that counts as a failure.'),
  steadyAfterCrash: second(0).describe('What ended again and again counts as recovered when it was ready for so long.'),
});

const budget = z.strictObject({
  window: second(1).describe('The time over which changes are counted.'),
  share: share().describe('Share of all placements that may change within the window.'),
  floor: whole(1, 1_000_000).describe('So many changes are always allowed, and as many as the largest node has.'),
});

const ssa = z.strictObject({
  drift: oneOf('correct', 'report').describe('What is done when somebody changes fields of ours on the cluster: put them back, over whoever has them, or tell of it only.'),
  adopt: yesOrNo().describe('Whether objects are taken over that Argo CD still tracks, or that others applied.'),
  system: yesOrNo().describe('Whether the manifests of the system itself are applied too, or only those of processors.'),
  deleteShare: share().describe('Share of our objects that may be deleted within the window, also to be made anew, beside those that a later placement replaces.'),
  deleteFloor: whole(1, 1_000_000).describe('So many may always be deleted.'),
  deleteWindow: second(1).describe('The time over which they are counted.'),
});

/** What one template or processor may have of its own. */
const policy = z.strictObject({
  match: text('template/SLUG or processor/UUID', (value) => /^(?:template\/[a-z0-9-]+|processor\/[0-9a-f-]{36})$/.test(value)),
  onFailure: failover.shape.onFailure.optional(),
  failback: failover.shape.failback.optional(),
  failbackWindow: failover.shape.failbackWindow.optional(),
  targets: failover.shape.targets.optional(),
  writerAlive: failover.shape.writerAlive.optional(),
  unfenced: failover.shape.unfenced.optional(),
  stateLoss: failover.shape.stateLoss.optional(),
  priority: whole(-1000, 1000).optional(),
});

export const settingsSchema = z.strictObject({
  database,
  dataDir: path().describe('Folder for the embedded database and the local repository.'),
  cluster: dnsLabel().describe('Name of the folder clusters/NAME in the repository.'),
  namespace: dnsLabel().describe('For processors whose row names no namespace.'),
  kubeconfig: path().nullable().describe('Kubernetes client configuration; null: that of the pod that it runs in, else none.'),
  pollInterval: second(1).describe('How often the tables of the running system are looked at for changes.'),
  logLevel: oneOf(...logLevels).describe('Least level that is logged.'),
  enableMonitor: yesOrNo().describe('Moves processors away from application nodes that are tainted NoSchedule.'),
  apply: oneOf('none', 'ssa', 'argocd').describe('What applies what is committed: none (whatever GitOps tool there is), ssa (dory itself), argocd (Argo CD, which dory configures, tells and watches).'),
  ssa,
  argocd,
  http: z.strictObject({
    host: anyText('an address').describe('Address that the HTTP server listens on.'),
    port: whole(0, 65_535).describe('Its port; 0 takes a free one.'),
    requireTokenForReads: yesOrNo().describe('Whether what only shows something takes the token of an operator.'),
    requireTokenForNodes: yesOrNo().describe('Whether registering and decommissioning nodes over the edge API takes the token of an operator.'),
  }),
  git,
  writeSecrets: yesOrNo().describe('Whether credentials go from the database to Secrets of the cluster; if not, dory secrets lists what must be created.'),
  imagePullSecret: objectName().describe('Secret with which images are pulled.'),
  databaseSecret: objectName().describe("Secret that holds the database's URL, in the system's own manifests."),
  databaseSecretKey: text('a key of a Secret', isDataKey).describe('Its key.'),
  stateToken: anyText('a token').nullable().meta({ description: 'Bearer token for the transfer of state between pods.', secret: true }),
  failover,
  guard,
  rollout,
  budget,
  policies: z.array(policy, { error: 'a list of policies' }).describe('What single templates and processors have of their own, over failover.'),
  sites: z.strictObject({
    label: anyText('a label').nullable().describe('Label of Kubernetes Nodes that names the site; null: none.'),
    column: text('a column', (value) => /^[a-z_][a-z0-9_]*$/.test(value)).nullable().describe('Column of edge_nodes that names the site; null: each organisation is one.'),
  }),
  retention: z.strictObject({
    events: second(3600).describe('Events older than this are deleted.'),
  }),
  managedPool: z.strictObject({
    architectures: z.array(anyText('an architecture'), { error: 'a list such as amd64,arm64' }).min(1, { error: 'a list such as amd64,arm64' })
      .describe('Architectures that the managed pool provides.'),
    gpu: yesOrNo().describe('Whether the managed pool provides GPUs.'),
  }),
  layout: oneOf('auto', 'flat', '64', '64x16').describe('Folders for processors in a new repository; auto chooses by the size of the fleet.'),
  heartbeats: z.strictObject({
    receiver: oneOf('dory', 'external').describe('Who writes heartbeats to the database: our HTTP server, or another program.'),
    interval: duration(millis(100), 'a duration of at least 100ms, such as 5s').describe('How often agents send one.'),
    requireToken: yesOrNo().describe('Whether agents must send the bearer token of their node.'),
  }),
  system: z
    .looseObject({
      accountId: anyText('an account id').describe("Account of the registry in the system's own manifests."),
      region: anyText('a region').describe('Its region.'),
    })
    .describe("Values of the system's own manifests."),
});

/** What a setting's `meta` says beside its description. */
declare module 'zod' {
  interface GlobalMeta {
    /** Its value must not be shown. */
    secret?: boolean;
  }
}

/** All settings, as the program takes them: lengths of time in milliseconds. */
export type Settings = z.output<typeof settingsSchema>;

/** Whether a setting takes this value as it is. */
export function accepts(schema: z.core.$ZodType, value: unknown): boolean {
  return z.core.safeParse(schema, value).success;
}

/** JSON Schema (draft 2020-12) of the YAML file, in which every setting may be left out. */
export function settingsJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(settingsSchema, { io: 'input', override: ({ jsonSchema }) => {
    delete jsonSchema.required;
    delete jsonSchema['secret'];
  } });
  return { $schema, title: 'Settings of dory', ...schema };
}

function isDatabaseUrl(value: string): boolean {
  return URL.canParse(value) && /^postgres(?:ql)?:$/.test(new URL(value).protocol);
}

/** `scheme://…`, `user@host:path`, or a path; a password would end up in logs and in the repository's configuration. */
function isRemote(value: string): boolean {
  if (/^[\w.-]+@[\w.-]+:[^/]/.test(value)) return true;
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(value)?.[1];
  if (scheme === undefined) return !value.startsWith('-');
  if (!['file', 'https', 'http', 'ssh'].includes(scheme) || !URL.canParse(value)) return false;
  const { username, password } = new URL(value);
  return password === '' && (username === '' || scheme === 'ssh');
}

/** What Argo CD can clone. */
function isSyncedRepository(value: string): boolean {
  return isRemote(value) && (URL.canParse(value) || value.includes('@'));
}

function isWebhookUrl(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && username === '' && password === '';
}

/** A branch that Git accepts and no command line mistakes for anything else. */
export function isBranch(value: string): boolean {
  return /^[A-Za-z0-9_][\w./+-]*$/.test(value) && !/\.\.|\/\/|\/\.|\.$|\/$|\.lock(?:\/|$)/.test(value);
}
