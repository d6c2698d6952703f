import { z } from 'zod';
import { isDataKey, isDnsLabel, isDnsSubdomain } from '../model/kubernetes-names.ts';
import { seconds, type Millis } from '../model/time.ts';
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

const dnsLabel = () => text('a DNS label: lower-case letters, digits and -, up to 63', isDnsLabel);
const objectName = () => text('a name that Kubernetes accepts: lower-case letters, digits, - and .', isDnsSubdomain);

const database = z.strictObject({
  url: text('a URL such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE', isDatabaseUrl).nullable().meta({ description: 'The database; null starts one of our own under dataDir.', secret: true }),
  poolSize: whole(1, 1000).describe('Most connections at once, the one that listens not included.'),
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

const failover = z.strictObject({
  heartbeatStale: second(1).describe('An edge node whose heartbeats stopped longer ago is lost.'),
  stabilityWindow: second(0).describe('A node that is back must be steady this long before processors go home.'),
  heartbeatGap: second(1).describe('A break in a returning node\'s heartbeats longer than this starts the window anew.'),
  intakeFresh: second(1).describe('When heartbeats could last be stored longer ago than this, silence says nothing.'),
  fenceMargin: second(0).describe("Added to a template's stop grace before silence counts as stopped."),
});

export const settingsSchema = z.strictObject({
  database,
  dataDir: path().describe('Folder for the embedded database and the local repository.'),
  cluster: dnsLabel().describe('Name of the folder clusters/NAME in the repository.'),
  namespace: dnsLabel().describe('For processors whose row names no namespace.'),
  kubeconfig: path().nullable().describe('Kubernetes client configuration; null: none.'),
  pollInterval: second(1).describe('How often the tables of the running system are looked at for changes.'),
  logLevel: oneOf(...logLevels).describe('Least level that is logged.'),
  enableMonitor: yesOrNo().describe('Moves processors away from application nodes that are tainted NoSchedule.'),
  apply: oneOf('none').describe('What applies the manifests beside a GitOps tool: nothing.'),
  http: z.strictObject({
    host: anyText('an address').describe('Address that the HTTP server listens on.'),
    port: whole(0, 65_535).describe('Its port; 0 takes a free one.'),
  }),
  git,
  imagePullSecret: objectName().describe('Secret with which images are pulled.'),
  databaseSecret: objectName().describe("Secret that holds the database's URL, in the system's own manifests."),
  databaseSecretKey: text('a key of a Secret', isDataKey).describe('Its key.'),
  stateToken: anyText('a token').nullable().meta({ description: 'Bearer token for the transfer of state between pods.', secret: true }),
  failover,
  managedPool: z.strictObject({
    architectures: z.array(anyText('an architecture'), { error: 'a list such as amd64,arm64' }).min(1, { error: 'a list such as amd64,arm64' })
      .describe('Architectures that the managed pool provides.'),
    gpu: yesOrNo().describe('Whether the managed pool provides GPUs.'),
  }),
  layout: oneOf('auto', 'flat', '64', '64x16').describe('Folders for processors in a new repository; auto chooses by the size of the fleet.'),
  heartbeats: z.strictObject({
    receiver: oneOf('dory', 'external').describe('Who writes heartbeats to the database: our HTTP server, or another program.'),
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

/** A branch that Git accepts and no command line mistakes for anything else. */
export function isBranch(value: string): boolean {
  return /^[A-Za-z0-9_][\w./+-]*$/.test(value) && !/\.\.|\/\/|\/\.|\.$|\/$|\.lock(?:\/|$)/.test(value);
}
