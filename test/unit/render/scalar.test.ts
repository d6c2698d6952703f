import { Yaml } from 'cdk8s';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { scalar } from '../../../src/render/scalar.ts';
import { manifestText } from '../../support/arbitrary-fleet.ts';

/** In column 14, as the value of a variable stands, with something behind it. */
const inPlace = (text: string): string => Yaml.stringify({ a: { b: { c: { d: { e: { f: [{ g: text, h: 1 }] } } } } } });
const around = inPlace('MARK');

test.each(['', '0', '12', '012', '0x1f', '1e3', 'E5', '1:30', '2001-12-14', '.inf', '~', '<<', 'Yes', 'NULL', 'it\'s: "so"', 'a\n b\n\n', '--- x', '\ud800'])('prints %j as cdk8s does', (text) => {
  expect(around.replace('MARK', () => scalar(text, 14))).toBe(inPlace(text));
});

test('prints any text as cdk8s does', () => {
  const numberLike = fc.stringMatching(/^[-+.\d_:eExXobat TZ~]{1,12}$/);
  fc.assert(fc.property(fc.oneof(manifestText(), fc.string(), fc.string({ unit: 'binary' }), numberLike), (text) => {
    expect(around.replace('MARK', () => scalar(text, 14))).toBe(inPlace(text));
  }), { numRuns: 2_000 });
});
