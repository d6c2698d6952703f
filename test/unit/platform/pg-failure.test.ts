import { expect, test } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { databaseFailure } from '../../../src/platform/pg-failure.ts';
import { createPool, inBatches, libpqUrl } from '../../../src/platform/pg.ts';

const coded = (code: string, more: object = {}): Error => Object.assign(new Error('words'), { code }, more);

test.each([
  ['40001', 'database-conflict'],
  ['40P01', 'database-conflict'],
  ['08006', 'database-unreachable'],
  ['57P01', 'database-unreachable'],
  ['57P03', 'database-unreachable'],
  ['53300', 'database-unreachable'],
  ['25006', 'database-unreachable'],
  ['57014', 'database-unreachable'],
  ['25P03', 'database-unreachable'],
  ['28P01', 'database-refused'],
  ['28000', 'database-refused'],
  ['3D000', 'database-refused'],
  ['42501', 'database-refused'],
  ['42P01', 'schema-missing'],
  ['42703', 'schema-incompatible'],
  ['ECONNREFUSED', 'database-unreachable'],
  ['ENOTFOUND', 'database-unreachable'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'database-refused'],
])('%s is %s', (code, expected) => {
  expect(databaseFailure(coded(code))).toMatchObject({ code: expected });
});

test('a socket that is not there is unreachable, a file that is not there is none of ours', () => {
  expect(databaseFailure(coded('ENOENT', { syscall: 'connect' }))).toMatchObject({ code: 'database-unreachable' });
  const missing = coded('ENOENT', { syscall: 'open' });
  expect(databaseFailure(missing)).toBe(missing);
});

test.each([coded('23505'), coded('42601'), new Error('anything'), new Failure('not-found', 'x'), 'text'])('%s stays as it is', (error) => {
  expect(databaseFailure(error)).toBe(error);
});

test('several addresses of one host fail as one', () => {
  const error = Object.assign(new AggregateError([coded('ECONNREFUSED')], ''), { code: 'ECONNREFUSED' });
  const failure = databaseFailure(error);
  expect(failure).toMatchObject({ code: 'database-unreachable', message: 'The database says: words.' });
});

test('sslmode means what it means to libpq', () => {
  expect(new URL(libpqUrl('postgres://u:p@h/d?sslmode=require')).searchParams.get('uselibpqcompat')).toBe('true');
  expect(libpqUrl('postgres://u:p@h/d')).toBe('postgres://u:p@h/d');
  expect(libpqUrl('postgres://%2Fvar%2Frun%2Fpostgresql/d')).toBe('postgres://%2Fvar%2Frun%2Fpostgresql/d');
});

test.each(['hunter2', 'mysql://u:hunter2@h/d', 'postgres://u:hunter#2@h/d', 'postgres://u:hunter2@h:port/d'])('%j is refused without showing it', (url) => {
  try {
    createPool(url, { max: 1, statementTimeoutMs: 0, applicationName: 'test' });
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ code: 'settings-invalid' });
    expect(String(error instanceof Failure ? [error.message, error.mend, error.cause] : error)).not.toContain('hunter');
  }
});

test('batches keep the order and lose nothing', () => {
  expect([...inBatches([1, 2, 3, 4, 5], 2)]).toEqual([[1, 2], [3, 4], [5]]);
  expect([...inBatches([], 2)]).toEqual([]);
});
