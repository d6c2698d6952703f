import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { identify, scan } from '../../src/apply/desired.ts';
import { appliedValues, ownedDigest, ownedValues, unionOf } from '../../src/apply/fields.ts';
import { parsePlain } from '../../src/apply/plain-yaml.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { applied, fieldName as key } from '../support/applied-fields.ts';

/** Every document that our renderer wrote for the example fleet and for the system. */
const generated = ['processors', 'system'].flatMap((folder) => {
  const path = join(packageRoot(), 'generated', 'clusters', 'example', folder);
  return readdirSync(path).filter((name) => name.endsWith('.yaml')).flatMap((name) => readFileSync(join(path, name), 'utf8').split(/^---\n/m));
});

const anyScalar = fc.oneof(fc.string(), fc.stringMatching(/^[\w.:/#@ -]{0,12}$/), fc.boolean(), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(null), fc.constantFrom('null', '~', 'yes', '1e3', '0x1F', '1.2.3', '-', '- a', 'a: b', 'a #b', '5Gi', '.5', '08', "it's", '|', '>', '*x', '&x', '!x', '%x', '@x', '<<', '=', '__proto__'));
const document = fc.dictionary(key, fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, anyScalar, fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(key, tie('value'), { maxKeys: 4 })),
})).value, { minKeys: 1, maxKeys: 5 });

describe('the fast reader of YAML', () => {
  test('reads what the renderer printed, all of a processor\'s, as the parser of all of YAML does', () => {
    for (const text of generated) {
      const plain = parsePlain(text);
      if (plain !== undefined || text.includes('kind: StatefulSet\n')) expect(plain).toEqual(parse(text));
    }
  });

  test('reads any document in the form of the renderer so, or leaves it to that parser', () => {
    let plain = 0;
    fc.assert(fc.property(document, (value) => {
      // As cdk8s prints.
      const text = stringify(value, { version: '1.1', lineWidth: 0 });
      const read = parsePlain(text);
      if (read === undefined) return;
      plain += 1;
      expect(read).toEqual(parse(text));
    }), { numRuns: 2_000 });
    expect(plain).toBeGreaterThan(200);
  });

  test('reads any text so, or leaves it to that parser', () => {
    const line = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.boolean(), fc.option(key), fc.boolean(), fc.stringMatching(/^[\w"'{}[\]|>*&!#:.~-]{0,6}$/))
      .map(([indent, dash, name, space, rest]) => `${'  '.repeat(indent)}${dash ? '- ' : ''}${name === null ? '' : `${name}:`}${space ? ' ' : ''}${rest}`);
    fc.assert(fc.property(fc.array(line, { minLength: 1, maxLength: 6 }), (lines) => {
      const text = `${lines.join('\n')}\n`;
      const read = parsePlain(text);
      if (read !== undefined) expect(read).toEqual(parse(text));
    }), { numRuns: 20_000 });
  });

  test('finds in each document what names it, as the parser does', () => {
    for (const text of generated.filter((each) => parseAllDocuments(each)[0]?.contents !== null)) {
      const found = scan(text);
      if (text.includes('kind: StatefulSet\n')) expect(found).not.toBeNull();
      if (found !== null) expect(found).toEqual(identify(text, 'test'));
    }
  });
});

describe('the values of our fields', () => {
  test('are what was applied, if all of it is ours', () => {
    fc.assert(fc.property(applied, ({ value, fields }) => {
      expect(ownedValues(value, fields)).toEqual(value);
    }));
  });

  test('are the same whatever others add to the object', () => {
    fc.assert(fc.property(applied, fc.dictionary(fc.constantFrom('other-1', 'other-2'), fc.integer(), { minKeys: 1 }), ({ value, fields }, more) => {
      expect(ownedDigest(ownedValues({ ...(value as object), ...more }, fields))).toBe(ownedDigest(value));
    }));
  });

  test('lack what is ours no more', () => {
    fc.assert(fc.property(applied, fc.nat(), ({ value, fields }, n) => {
      const names = Object.keys(fields);
      const lost = names[n % names.length] ?? '';
      const left = ownedValues(value, Object.fromEntries(Object.entries(fields).filter(([name]) => name !== lost))) as object;
      if (names.length > 1) expect(Object.keys(left)).not.toContain(lost.slice(2));
    }));
  });

  test('of several entries are those of each', () => {
    fc.assert(fc.property(applied, applied, (one, other) => {
      expect(ownedValues(one.value, unionOf([one.fields, one.fields]))).toEqual(one.value);
      const both = { a: one.value, b: other.value };
      expect(ownedValues(both, unionOf([{ 'f:a': one.fields }, { 'f:b': other.fields }]))).toEqual(both);
    }));
  });

  test('items of a list that others share are found by their keys, and in part', () => {
    const ports = [{ containerPort: 80, protocol: 'TCP', name: 'theirs' }, { containerPort: 8080, protocol: 'TCP', name: 'http' }];
    const fields = { 'f:ports': { 'k:{"containerPort":8080,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {}, 'f:name': {} } } };
    expect(ownedValues({ ports }, fields)).toEqual({ ports: [{ containerPort: 8080, name: 'http' }] });
    expect(ownedValues({ finalizers: ['a', 'b'] }, { 'f:finalizers': { '.': {}, 'v:"b"': {} } })).toEqual({ finalizers: ['b'] });
    expect(ownedValues({ list: ['a', 'b'] }, { 'f:list': { 'i:1': {} } })).toEqual({ list: ['b'] });
    expect(ownedValues({ annotations: { theirs: '1' } }, { 'f:annotations': { '.': {} } })).toEqual({ annotations: {} });
    expect(ownedValues({ gone: 1 }, { 'f:here': {}, 'x:strange': {} })).toEqual({});
  });

  test('amounts are equal however they are written, and texts only if they are', () => {
    const limits = (cpu: string) => ownedDigest({ resources: { limits: { cpu } } });
    expect(limits('2000m')).toBe(limits('2'));
    expect(limits('2000m')).not.toBe(limits('2001m'));
    expect(ownedDigest({ fieldRef: { fieldPath: 'metadata.name', apiVersion: 'v1' } })).toBe(ownedDigest({ fieldRef: { fieldPath: 'metadata.name' } }));
    expect(ownedDigest({ env: { cpu: '2000m' } })).not.toBe(ownedDigest({ env: { cpu: '2' } }));
  });

  test('identity is nobody\'s field', () => {
    expect(appliedValues({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'b', labels: { c: 'd' } }, data: {} })).toEqual({ metadata: { labels: { c: 'd' } }, data: {} });
    expect(appliedValues({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a' } })).toEqual({});
  });
});
