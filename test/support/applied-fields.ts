import fc from 'fast-check';
import type { Fields } from '../../src/apply/fields.ts';

export const fieldName = fc.stringMatching(/^[a-zA-Z][\w./-]{0,8}$/);

/** A value, and the fields of whoever applied all of it, as the server would note them: maps field by field, lists in one of four ways. */
export interface Applied {
  readonly value: unknown;
  readonly fields: Fields;
}

export const applied: fc.Arbitrary<Applied> = fc.letrec<{ any: Applied; map: Applied }>((tie) => {
  const leaf = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant({}), fc.array(fc.integer(), { maxLength: 3 }), fc.dictionary(fieldName, fc.integer(), { maxKeys: 2 })).map((value): Applied => ({ value, fields: {} }));
  const keyed = fc.uniqueArray(fc.tuple(fieldName, tie('map')), { minLength: 1, maxLength: 3, selector: ([name]) => name }).map((items): Applied => ({
    value: items.map(([name, { value }]) => ({ ...(value as object), name })),
    fields: Object.fromEntries(items.map(([name, { fields }]) => [`k:${JSON.stringify({ name })}`, { ...fields, '.': {}, 'f:name': {} }])),
  }));
  const set = fc.uniqueArray(fc.oneof(fc.string(), fc.integer()), { minLength: 1, maxLength: 3 }).map((values): Applied => ({ value: values, fields: Object.fromEntries(values.map((value) => [`v:${JSON.stringify(value)}`, {}])) }));
  const places = fc.array(tie('any'), { minLength: 1, maxLength: 3 }).map((items): Applied => ({ value: items.map(({ value }) => value), fields: Object.fromEntries(items.map(({ fields }, n) => [`i:${String(n)}`, fields])) }));
  return {
    any: fc.oneof({ depthSize: 'small' }, leaf, tie('map'), keyed, set, places),
    map: fc.dictionary(fieldName, tie('any'), { minKeys: 1, maxKeys: 4 }).map((members): Applied => ({
      value: Object.fromEntries(Object.entries(members).map(([name, { value }]) => [name, value])),
      fields: Object.fromEntries(Object.entries(members).map(([name, { fields }]) => [`f:${name}`, fields])),
    })),
  };
}).map;
