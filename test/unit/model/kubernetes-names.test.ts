import { describe, expect, test } from 'vitest';
import {
  isCapability, isDataKey, isDeviceCount, isDnsLabel, isDnsSubdomain, isEnvName, isImageReference, isLabelValue,
  isManifestText, isNodeName, isPort, isQuantity, isResourceQuantity, parseQuantity,
} from '../../../src/model/kubernetes-names.ts';

const hex = '0123456789abcdef'.repeat(4);

describe.each<[string, (text: string) => boolean, readonly string[], readonly string[]]>([
  ['a DNS label', isDnsLabel, ['a', '1', 'a-b', 'a'.repeat(63)], ['', '-a', 'a-', 'A', 'a.b', 'a_b', 'a'.repeat(64), 'a\n']],
  ['a DNS subdomain', isDnsSubdomain, ['a', 'a.b-c.1', 'a'.repeat(253)], ['', '.a', 'a.', 'a..b', 'a.-b', 'A', 'a'.repeat(254)]],
  ["a node's name", isNodeName, ['edge-17', 'ip-10-0-0-1.ec2.internal'], ['', 'Edge', 'a'.repeat(64)]],
  ["a label's value", isLabelValue, ['', 'a', 'A_b.c-1', 'a'.repeat(63)], ['-a', 'a-', 'a b', 'a'.repeat(64), 'ä']],
  ["a variable's name", isEnvName, ['A', '_', 'a.b-c', '.a', '-'], ['', '1A', 'A B', 'A=', '.', '..', '..a']],
  ["a Secret's key", isDataKey, ['1', 'a.b', '.a'], ['', '.', '..a', 'a/b', 'a'.repeat(254)]],
  ['a capability', isCapability, ['NET_ADMIN', 'ALL'], ['', 'net_admin', 'CAP NET']],
  ['an image', isImageReference,
    ['nginx', 'a/b:1', 'localhost:5000/x', '1.dkr.ecr.us-east-2.amazonaws.com/app:latest', `r.io/a__b/c-d@sha256:${hex}`, `a:1@sha256:${hex}`, '[::1]:5000/a'],
    ['', 'UPPER', 'a b', 'a:', 'a@sha256:1', 'https://a/b', '/a', 'a/', 'a//b', 'a___b', `a:${'t'.repeat(129)}`, 'a'.repeat(256), 'user:pw@a/b']],
  ['text of a manifest', isManifestText,
    ['', ' ', '\n', '\n\n', ' \na', 'a\n ', 'a\tb\nc', 'ä🚀', '\u001b', '0x1F', '.5e3', '0o9x'],
    [' \n', '\n ', '\n \n', '\t \n', '\0', '\u007f', '\u0085', '\u2028', '\ufeff', '\ud800', '0o17', '0X1F', '-0B1', '-_1']],
  ['a quantity', isQuantity,
    ['0', '1', '500m', '2Gi', '1.5', '.5', '5.', '+1', '-1', '1e3', '1E-3', '1E', '12Ki', '1n'],
    ['', 'm', '.', '5OOm', '1 Gi', '1ki', '1K', '1KiB', '1e', '1e1.5', '1mm', '0x1', '1e100', '1_000', '9'.repeat(65)]],
  ['a resource', isResourceQuantity, ['0', '1m'], ['-1', '-1m', 'a']],
  ['a count of devices', isDeviceCount, ['1', '2', '1e1', '1000m'], ['0', '-1', '0.5', '1500m', 'one']],
])('%s', (_, accepts, good, bad) => {
  test.each(good)('accepts %j', (text) => expect(accepts(text)).toBe(true));
  test.each(bad)('refuses %j', (text) => expect(accepts(text)).toBe(false));
});

test('a port is a whole number from 1 to 65535', () => {
  expect([0, 1, 8080, 65_535, 65_536, 1.5, Number.NaN].map(isPort)).toEqual([false, true, true, true, false, false, false]);
});

test.each<[string, bigint]>([
  ['1', 1_000_000_000n], ['500m', 500_000_000n], ['0.5', 500_000_000n], ['1Ki', 1_024_000_000_000n], ['0.1Ki', 102_400_000_000n], ['1k', 1_000_000_000_000n],
  ['1e3', 1_000_000_000_000n], ['1u', 1_000n], ['1n', 1n], ['-1', -1_000_000_000n], ['1E', 10n ** 27n], ['1Ei', (1n << 60n) * 10n ** 9n],
  // Finer than a billionth is rounded away from zero.
  ['0.1n', 1n], ['1e-12', 1n], ['-0.1n', -1n],
])('%s is %d billionths', (text, value) => {
  expect(parseQuantity(text)).toBe(value);
});
