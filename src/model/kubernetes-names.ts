/**
 * What Kubernetes accepts as a name, a label, a quantity: the rules of its own validation (`apimachinery`, `core/v1`), so
 * that a bad value is found in the row it came from and not by the cluster. `observe` and `render` share them.
 */

const dnsLabel = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;
const qualifiedPart = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const envName = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
const dataKey = /^[-._a-zA-Z0-9]+$/;
const capability = /^[A-Z][A-Z0-9_]*$/;

/** RFC 1123 label: namespaces, container names, slugs. */
export function isDnsLabel(text: string): boolean {
  return text.length <= 63 && dnsLabel.test(text);
}

/** RFC 1123 subdomain, up to 253 characters: names of most objects. */
export function isDnsSubdomain(text: string): boolean {
  return text.length <= 253 && text.split('.').every((label) => dnsLabel.test(label));
}

/** A Node's name that can be selected by its `kubernetes.io/hostname` label, whose value ends at 63 characters. */
export function isNodeName(text: string): boolean {
  return isDnsSubdomain(text) && isLabelValue(text);
}

export function isLabelValue(text: string): boolean {
  return text === '' || (text.length <= 63 && qualifiedPart.test(text));
}

/** The name of an environment variable of a container. */
export function isEnvName(text: string): boolean {
  return envName.test(text) && text !== '.' && !text.startsWith('..');
}

/** A key of a Secret or a ConfigMap. */
export function isDataKey(text: string): boolean {
  return text.length <= 253 && dataKey.test(text) && text !== '.' && !text.startsWith('..');
}

export function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65_535;
}

/** A Linux capability as Kubernetes writes it, without `CAP_`: `NET_ADMIN`. */
export function isCapability(text: string): boolean {
  return text.length <= 63 && capability.test(text);
}

const unreadable = /[\u0000\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]|\p{Surrogate}/u;
/** Blank lines with blanks in them: the printer chooses a block, which loses the blanks. */
const blankLines = /^(?=[^]*\n)(?=[^]*[ \t])[ \t\r\n]+$/;
const readAsNumber = /^[-+]?0[oOXB][\da-fA-F_]+$|^[-+]_[\d_]+$/;

/**
 * Text that comes through a manifest unharmed. Kubernetes' YAML reader refuses some characters, takes others for line
 * breaks, and reads a few texts as numbers (`0o17`, `0X1F`) that the printer does not know to quote; the printer itself
 * loses blanks where there is nothing else.
 */
export function isManifestText(text: string): boolean {
  return !unreadable.test(text) && !readAsNumber.test(text) && !blankLines.test(text);
}

/** Linux takes no longer one. */
const longestEnvValue = 131_072;

/** The value of a variable that stands in a manifest. */
export function isEnvValue(text: string): boolean {
  return text.length <= longestEnvValue && isManifestText(text);
}

/** The column of the running system holds no more. */
const longestVersion = 255;

/** A release's name, free text: `1.4.2`. */
export function isVersion(text: string): boolean {
  return text.length <= longestVersion && isManifestText(text);
}

const pathPart = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const hostPart = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const registry = `(?:${hostPart}(?:\\.${hostPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const tag = ':[\\w][\\w.-]{0,127}';
const digest = '@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[a-fA-F0-9]{32,}';
const imageReference = new RegExp(`^((?:${registry}/)?${pathPart}(?:/${pathPart})*)(?:${tag})?(?:${digest})?$`);

/** `[registry/]repository[:tag][@digest]`, the grammar of container registries; the repository up to 255 characters. */
export function isImageReference(text: string): boolean {
  // Longer than any valid one (255 + 1 + 128 + 1 + a digest): not worth matching.
  if (text.length > 1024) return false;
  const repository = imageReference.exec(text)?.[1];
  return repository !== undefined && repository.length <= 255;
}

// Exponents of three digits pass Kubernetes' parser and are silently capped at 2^63 - 1: never what was meant.
const quantity = /^([+-]?)(\d+\.?\d*|\.\d+)(?:([KMGTPE]i)|([numkMGTPE])|[eE]([+-]?0*\d{1,2}))?$/;
const decimalPower: Readonly<Record<string, number>> = { n: -9, u: -6, m: -3, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 };
const binaryPower: Readonly<Record<string, bigint>> = { Ki: 10n, Mi: 20n, Gi: 30n, Ti: 40n, Pi: 50n, Ei: 60n };
const nano = 9;

/**
 * The value of a Kubernetes quantity in billionths (its finest step; finer is rounded up, as there), or null if the text
 * is not a quantity. `500m` is 500_000_000n.
 */
export function parseQuantity(text: string): bigint | null {
  // The longest sensible number is shorter, and the arithmetic below grows with the length.
  const match = text.length <= 64 ? quantity.exec(text) : null;
  if (match === null) return null;
  const [, sign, number = '', binary, decimal, exponent] = match;
  const [whole = '', fraction = ''] = number.split('.');
  const power = nano - fraction.length + (decimal === undefined ? Number(exponent ?? 0) : (decimalPower[decimal] ?? 0));
  const scaled = BigInt(`${whole}${fraction}`) << (binary === undefined ? 0n : (binaryPower[binary] ?? 0n));
  const divisor = 10n ** BigInt(Math.max(0, -power));
  const value = (scaled * 10n ** BigInt(Math.max(0, power)) + divisor - 1n) / divisor;
  return sign === '-' ? -value : value;
}

export function isQuantity(text: string): boolean {
  return parseQuantity(text) !== null;
}

/** What a request or a limit may be: zero or more. */
export function isResourceQuantity(text: string): boolean {
  const value = parseQuantity(text);
  return value !== null && value >= 0n;
}

/** What a count of devices (`nvidia.com/gpu`) may be: a whole number, one or more. */
export function isDeviceCount(text: string): boolean {
  const value = parseQuantity(text);
  return value !== null && value > 0n && value % 1_000_000_000n === 0n;
}

/** As Kubernetes' documentation of non-graceful node shutdown has it; its effect is NoExecute. */
export const outOfServiceTaint = 'node.kubernetes.io/out-of-service=nodeshutdown';
