import { Failure } from '../model/failure.ts';
import { GitExit } from '../platform/git.ts';
import { plainText } from './plain-text.ts';

/** The clone is no longer usable: it is thrown away and cloned anew. */
export class BrokenClone extends Error {
  override readonly name = 'BrokenClone';
  readonly detail: string;

  constructor(detail: string) {
    super('the clone is broken');
    this.detail = detail;
  }
}

/** What went wrong in our own folder, as a broken clone; other errors as they are. */
export function locally(error: unknown): unknown {
  if (error instanceof GitExit) return new BrokenClone(firstWords(error));
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code !== undefined && /^E[A-Z0-9]+$/.test(code) ? new BrokenClone(code) : error;
}

/**
 * What git says (in the C locale) when the remote is there and does not want us. A refusal by ssh is told from an unreachable host
 * by its own words: git adds "access rights" to both.
 */
const refusals: readonly (readonly [RegExp, string])[] = [
  [/could not read (?:Username|Password)|Authentication failed|HTTP Basic: Access denied|requested URL returned error: 401|invalid credentials/i, 'Set git.token (or git.tokenFile) to a token that may write to this repository, and git.username where the host wants a name.'],
  [/requested URL returned error: 403|not authorized|denied to|write access .* not granted/i, 'Give the token or key the right to write to this repository.'],
  [/Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No .* host key is known/i, "Compare the host's key with what its operator publishes, and put it into git.sshKnownHostsFile."],
  [/Permission denied \(|Load key .*:|Too many authentication failures|invalid format/i, 'Set git.sshKeyFile to a private key without a passphrase, readable by this user alone, whose public half may write to this repository.'],
  [/SSL certificate problem|certificate verification failed|server certificate|unable to get local issuer/i, "Set git.caFile to the certificates that sign the remote's."],
  [/insufficient permission for adding an object|unable to migrate objects|unable to create temporary|Permission denied/i, 'Let the user who runs this program write to the repository.'],
  [/error setting certificate|problem with the SSL CA cert/i, 'Set git.caFile to a file that holds certificates in PEM form.'],
];

const broken = /\.lock': File exists|bad object|bad tree|missing (?:blob|tree|commit|object)|is corrupt|corrupt(?:ed)? |loose object|packfile |pack has|unable to read|could not read [0-9a-f]{40}|unresolved deltas|invalid object|did not send all necessary|index-pack died|pack-objects died|bad config|fatal: not a git repository|No space left|Read-only file system|inflate/i;

/** What a failed conversation with the remote means. The remote's text is quoted: made plain, short, and it never held the token. */
export function remoteFailure(exit: GitExit): Failure | BrokenClone {
  const said = firstWords(exit);
  if (exit.timedOut) return new Failure('git-unreachable', 'The Git remote did not answer in time.', { cause: exit });
  const refusal = refusals.find(([pattern]) => pattern.test(exit.stderr));
  if (refusal !== undefined) return new Failure('git-refused', `The Git remote refused us: ${said}`, { mend: refusal[1], cause: exit });
  const ours = exit.stderr.split('\n').filter((line) => !line.startsWith('remote:')).join('\n');
  if (broken.test(ours)) return new BrokenClone(said);
  return new Failure('git-unreachable', `The Git remote can't be reached: ${said}`, { mend: 'Changes are kept in the database, and are committed when it is back.', cause: exit });
}

/** The lines that name the error, made plain. */
function firstWords({ stderr, message }: GitExit): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  const telling = lines.filter((line) => /^(?:fatal|error|remote|ssh|Host|Load key|.*Permission denied|.*refused|.*resolve)/.test(line));
  return plainText((telling.length > 0 ? telling : lines).slice(0, 3).join('; ') || message, 300);
}
