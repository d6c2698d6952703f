/**
 * What counts as a credential: by the words of its key, by a user or a credential inside a URL or a connection string, by
 * the shape of the value. In doubt it is one: a setting that is hidden without need still works, one that is shown in Git
 * is lost. Keys that only speak about a credential (`…_TOKEN_URL`, `…_KEY_FILE`) stay readable while their value is harmless.
 */

const stems = /passw(?:or)?d|passphrase|passcode|secret|token(?!iz)|credential|pin_?code|api_?key|access_?key|private_?key|conn(?:ection)?_?str(?:ing)?|authorization|authentication/;
const keyWords = new Set(['auth', 'bearer', 'jwt', 'dsn', 'sas', 'psk', 'pat', 'pwd', 'creds', 'cookie', 'htpasswd', 'kubeconfig']);
/** Words that mean a credential only where they end the key: `RTSP_PASS`, but `PASS_COUNT`. */
const lastWords = new Set(['pass', 'sig', 'signature', 'community']);
/** `…_KEY` is a credential after one of these (`ROUTING_KEY` is not), or alone. */
const keysOf = new Set(['account', 'admin', 'auth', 'client', 'decryption', 'device', 'encryption', 'host', 'license', 'master', 'session', 'shared', 'signing', 'ssh', 'ssl', 'storage', 'stream', 'subscription', 'tls']);

const aboutWords = new Set(
  ('url uri endpoint host hostname port file path dir directory mount name username user type kind mode method scheme header ' +
    'sec secs second seconds ms millis minutes hours timeout ttl interval expiry lifetime enabled disabled required optional ' +
    'issuer audience region algorithm alg version count size limit length backend provider format scope scopes').split(' '),
);
const switchWords = new Set(['use', 'require', 'requires', 'enable', 'has', 'is', 'allow', 'with', 'skip', 'max', 'min', 'num']);
const switchOrNumber = /^(?:true|false|yes|no|on|off|\d{1,9}(?:\.\d+)?)$/i;
/** What ends with one of these names public content, however random it looks. */
const contentWords = new Set(['id', 'uuid', 'guid', 'sha', 'sha1', 'sha256', 'md5', 'digest', 'checksum', 'hash', 'commit', 'revision', 'etag']);
const authSchemes = /^(?:none|basic|digest|bearer|anonymous|oauth2?|mtls|ntlm)$/i;

/** `rtspPassword`, `RTSP-PASSWORD` → `rtsp_password`. */
export function snakeCase(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1_$2')
    .replace(/[^A-Za-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '')
    .toLowerCase();
}

type KeyKind = 'credential' | 'about' | 'plain';

function keyKind(key: string): KeyKind {
  const snake = snakeCase(key);
  // Every setting of a sensor begins so.
  const words = snake.replace(/^sensor_/, '').split('_');
  const last = words.at(-1) ?? '';
  const named = stems.test(snake) || words.some((word) => keyWords.has(word)) || lastWords.has(last);
  const aKey = last === 'key' && (words.length === 1 || words.some((word) => keysOf.has(word)));
  if (!named && !aKey) return 'plain';
  return aboutWords.has(last) ? 'about' : 'credential';
}

/** Judges values that are found under one key. */
export interface KeyJudge {
  readonly isCredential: (value: string) => boolean;
}

/**
 * What `key` says of its values. An empty value and a reference to another variable hide nothing. Made once for a key and
 * used for many values, because taking names apart takes longer than most values do.
 */
export function judgeOf(key: string): KeyJudge {
  const kind = keyKind(key);
  const words = snakeCase(key).split('_');
  const [first = '', last = ''] = [words[0], words.at(-1)];
  const isHarmless = (value: string): boolean =>
    (switchWords.has(first) && switchOrNumber.test(value)) || (/^auth(?:entication)?$/.test(last) && authSchemes.test(value));
  const judge = (value: string): boolean =>
    kind === 'credential' ? !isHarmless(value) : hasKnownShape(value) || (!contentWords.has(last) && isRandom(value));
  return { isCredential: (value) => value.replaceAll(reference, '') !== '' && judge(value) };
}

/** Whether `value`, found under `key`, must not leave the database. */
export function isCredential(key: string, value: string): boolean {
  return judgeOf(key).isCredential(value);
}

const reference = /\$\([A-Za-z_][A-Za-z0-9_]*\)/g;

const shapes: readonly RegExp[] = [
  /-----BEGIN [A-Z0-9 ]+-----/,
  /\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}/, // JWT
  /\b(?:AKIA|ASIA)[A-Z0-9]{16}\b/, // AWS
  /\b(?:gh[pousr]_|github_pat_|glpat-|npm_|hf_|dckr_pat_|dop_v1_|shpat_|pypi-|sk-|sk_live_|rk_live_|hvs\.|ya29\.|AIza|SG\.)[A-Za-z0-9_-]{16,}/,
  /(?<![\w/+.-])(?=[a-z\d/+]*[A-Z])(?=[A-Z\d/+]*[a-z])(?=[A-Za-z/+]*\d)[A-Za-z\d/+]{40}(?![\w/+=.-])/, // AWS' secret keys
  /\bxox[a-z]-[A-Za-z0-9-]{8,}/, // Slack
  /hooks\.slack\.com\/(?:services|workflows)\//,
  /AGE-SECRET-KEY-/,
  /\$(?:2[aby]|5|6|y|argon2id?)\$/, // crypt
  /\b(?:Bearer|Basic) +[A-Za-z0-9+/=._~-]{8,}/i,
  /:\/\/(?:[^\s/?#:@]*:[^\s/?#@]+|[^\s/?#:@]+)@/, // user info of a URL
  /:\/\/[^\s@/:]*:(?!\d{1,5}(?:[/?#]|$))[^\s@]{1,200}@/, // the same with an unescaped slash in the password
  /^[^\s:@/]+:(?!\/\/)[^\s@]+@(?!sha\d+:)[^\s@]+$/, // user:password@host, as in Go's DSNs
];

/** Whether the value alone tells that it is, or holds, a credential. */
export function looksLikeCredential(value: string): boolean {
  return hasKnownShape(value) || isRandom(value);
}

function hasKnownShape(value: string): boolean {
  // A reference to another variable (`amqp://app:$(PASSWORD)@host`) stands for a credential and is none.
  const text = value.includes('$(') ? value.replaceAll(reference, '') : value;
  return shapes.some((shape) => shape.test(text)) || holdsPair(text);
}

// Names and values are looked at no further than 80 characters, so that a long text is searched in linear time.
const pairs: readonly RegExp[] = [
  /(?<![\w.])([A-Za-z][\w.-]{0,80})["']?\s{0,3}[=:]\s{0,3}["']?(?=([^\s"'&;,}]{1,80}))/g, // password=…, ?token=…, "secret": "…"
  /(?<![\w-])--?([A-Za-z][\w-]{0,80}) {1,3}(?=([^\s"'-][^\s"']{0,80}))/g, // --password …
];

/** Every key that `keyKind` calls a credential has one of these in it; most texts have none. */
const perhapsKey = /pass|pwd|secret|token|cred|key|conn|auth|pin|bearer|jwt|dsn|sas|psk|pat|cookie|sig|community|kube/i;

function holdsPair(text: string): boolean {
  if (!perhapsKey.test(text)) return false;
  for (const pair of pairs) {
    for (const [, key = '', value = ''] of text.matchAll(pair)) {
      if (!value.startsWith('//') && keyKind(key) === 'credential' && isCredential(key, value)) return true;
    }
  }
  return false;
}

/** Whether there is a long run of letters and digits that nobody would choose as a name, and that is no image's digest. */
function isRandom(text: string): boolean {
  const rest = text.replace(/\bsha(?:1|256|384|512)[-:_][A-Fa-f0-9]{40,}/g, '');
  return rest.split(/[^A-Za-z0-9+]+/).some(isRandomRun);
}

/** How often, of all places, letters of one case follow on the other or on digits: 0.6 in random text, 0.3 in `CamelCase2Names`. */
const leastTurns = 0.36;

function isRandomRun(run: string): boolean {
  if (run.length < 20 || !/\d/.test(run) || !/[A-Za-z]/.test(run)) return false;
  const mixed = /[a-z]/.test(run) && /[A-Z]/.test(run);
  if (!mixed) return run.length >= 32 && run.replace(/\D/g, '').length >= 4;
  const turns = run.match(/[a-z](?=[^a-z])|[A-Z](?=[^A-Z])|\d(?=\D)/g)?.length ?? 0;
  return turns >= leastTurns * (run.length - 1);
}

/** The longest value that is worth showing: a line of a terminal. */
const shownLength = 80;

/** What an error may show of a value: nothing if it could be a credential, else its beginning, without control characters. */
export function shown(value: string): string | null {
  if (looksLikeCredential(value)) return null;
  const clean = value.replace(/\p{Cc}/gu, ' ');
  return clean.length <= shownLength ? clean : `${clean.slice(0, shownLength - 1)}…`;
}
