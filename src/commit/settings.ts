import { isAbsolute } from 'node:path';
import { Failure } from '../model/failure.ts';
import { isDnsLabel } from '../model/kubernetes-names.ts';
import { seconds, type Millis } from '../model/time.ts';
import { isBranch } from '../platform/settings-schema.ts';

export interface Person {
  readonly name: string;
  readonly email: string;
}

export interface GitSettings {
  /** An absolute path, `file://…`, `https://…`, `ssh://…` or `user@host:path`; `http://` only to this machine. */
  readonly url: string;
  readonly branch: string;
  readonly author: Person;
  readonly committer: Person;
  /** The bare clone lies in `<dataDir>/git-<hash of url and branch>`; one process at a time uses it. */
  readonly dataDir: string;
  /** Everything of ours lies in `clusters/<cluster>/`. */
  readonly cluster: string;
  /** Stands in `.dory/owner.json`: the folder of another owner is refused. */
  readonly owner: string;
  readonly auth: GitAuth;
  /** Certificates for https, beside those of the system. */
  readonly caFile: string | null;
  /** An SSH key that signs commits; null: unsigned. */
  readonly signingKeyFile: string | null;
  /** Where git and ssh are found, as in `PATH`; null: the usual folders. */
  readonly path: string | null;
  readonly timeouts?: GitTimeouts;
}

export type GitAuth =
  | { readonly kind: 'none' }
  /** Asked for before each conversation with the remote, so that a rotated token is taken up. */
  | { readonly kind: 'token'; readonly username: string; readonly token: () => Promise<string> }
  /** Null: the keys, and the known hosts, of the user who runs this program. */
  | { readonly kind: 'ssh'; readonly keyFile: string | null; readonly knownHostsFile: string | null };

export interface GitTimeouts {
  /** For commands that read and write the clone. */
  readonly local: Millis;
  /** For conversations with the remote. */
  readonly network: Millis;
}

/** The first commit of 50,000 files takes some 10 s on a slow disk, and its push as long on a slow line. */
export const defaultTimeouts: GitTimeouts = { local: seconds(60), network: seconds(120) };

export const usualPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin';

const control = /\p{Cc}/u;

export interface Remote {
  readonly protocol: 'file' | 'https' | 'http' | 'ssh';
  /** As git takes it. */
  readonly url: string;
}

/** Our own list of what git may be told, since git itself runs programs that a URL names (`ext::`). */
export function checkSettings(settings: GitSettings): Remote {
  const { branch, cluster, author, committer, auth } = settings;
  const remote = remoteOf(settings.url);
  if (!isBranch(branch)) throw invalid('git.branch', branch, 'Name a branch, such as main.');
  if (!isDnsLabel(cluster)) throw invalid('cluster', cluster, 'Use a DNS label.');
  for (const { name, email } of [author, committer]) {
    if (!isIdent(name)) throw invalid('git.authorName or git.committerName', name, 'Use a name without <, > and line breaks.');
    if (!isIdent(email)) throw invalid('git.authorEmail or git.committerEmail', email, 'Use an address without <, > and line breaks.');
  }
  if (auth.kind === 'token' && remote.protocol !== 'https' && remote.protocol !== 'http') {
    throw new Failure('settings-invalid', 'git.token is set, and git.url is not an https URL.', { mend: 'Use an https URL, or remove the token.' });
  }
  return remote;
}

/** The value is not shown: it could hold a password. */
function remoteOf(url: string): Remote {
  if (control.test(url) || url.startsWith('-')) throw refusedUrl('Use a URL without control characters that does not begin with -.');
  if (isAbsolute(url)) return { protocol: 'file', url };
  if (/^[A-Za-z0-9_][\w.-]*@[A-Za-z0-9][\w.-]*:(?![-/])[^:]*$/.test(url)) return { protocol: 'ssh', url };
  if (!URL.canParse(url)) throw refusedUrl('Use an absolute path, or a URL of https, ssh or file.');
  return { protocol: protocolOf(new URL(url)), url };
}

function protocolOf({ protocol, username, password, hostname }: URL): Remote['protocol'] {
  if (password !== '' || (username !== '' && protocol !== 'ssh:')) throw refusedUrl('Take the name and password out of the URL; put the token into git.token or git.tokenFile.');
  switch (protocol) {
    case 'https:':
      return 'https';
    case 'http:':
      if (!['localhost', '127.0.0.1', '[::1]'].includes(hostname)) throw refusedUrl('Use https: over http anybody on the way reads and changes what is written.');
      return 'http';
    case 'ssh:':
      if (hostname.startsWith('-') || username.startsWith('-')) throw refusedUrl('Use a host and a user that do not begin with -.');
      return 'ssh';
    case 'file:':
      return 'file';
    default:
      throw refusedUrl('Use an absolute path, or a URL of https, ssh or file.');
  }
}

function refusedUrl(mend: string): Failure {
  return new Failure('settings-invalid', 'git.url is not a remote that can be used.', { mend });
}

function isIdent(value: string): boolean {
  return value.trim() !== '' && !/[<>]/.test(value) && !control.test(value);
}

function invalid(field: string, value: string, mend: string): Failure {
  return new Failure('settings-invalid', `${field} can't be ${JSON.stringify(value.slice(0, 80))}.`, { mend });
}
