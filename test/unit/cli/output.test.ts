import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { exitCodes, firstOf } from '../../../src/cli/exit-codes.ts';
import { painter, printable, render, table, type Column } from '../../../src/cli/output.ts';

interface Row {
  readonly name: string;
  readonly note: string;
}
const columns: readonly Column<Row>[] = [
  { header: 'NAME', of: ({ name }) => name },
  { header: 'NOTE', of: ({ note }) => note, wide: true },
  { header: 'LENGTH', of: ({ name }) => String(name.length) },
];
const rows: readonly Row[] = [{ name: 'a', note: 'first' }, { name: 'much-longer', note: '' }];

describe('table', () => {
  it('aligns columns, and keeps what is wide for -o wide', () => {
    expect(table(columns, rows, 'table')).toBe(['NAME          LENGTH', 'a             1', 'much-longer   11', ''].join('\n'));
    expect(table(columns, rows, 'wide')).toBe(['NAME          NOTE     LENGTH', 'a             first    1', 'much-longer   <none>   11', ''].join('\n'));
  });

  it('shows what a terminal would obey', () => {
    const shown = table(columns, [{ name: 'x\u001b[2J\u001b]0;owned\u0007\r\n\u202egnp.exe', note: '' }], 'table');
    expect(shown).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
    expect(shown).toContain('x\\u001b[2J\\u001b]0;owned\\u0007\\u000d\\u000a\\u202egnp.exe');
    expect(shown.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('printable', () => {
  it.each(['\u0000', '\n', '\u001b', '\u007f', '\u009b', '\u200f', '\u2066'])('shows %j as text', (character) => {
    expect(printable(`a${character}b`)).toMatch(/^a\\u[0-9a-f]{4}b$/);
  });
  it.each(['grün', '日本語', '🚀', 'a b'])('leaves %s alone', (text) => { expect(printable(text)).toBe(text); });
});

describe('render', () => {
  it('gives machines the document and people the rows', () => {
    expect(JSON.parse(render('json', { rows }, columns, rows))).toEqual({ rows });
    expect(parse(render('yaml', { rows }, columns, rows))).toEqual({ rows });
    expect(render('table', { rows }, columns, rows)).toBe(table(columns, rows, 'table'));
  });
});

it('paints only where colours are wanted', () => {
  expect(painter(false)('red', 'a')).toBe('a');
  expect(painter(true)('red', 'a')).toBe('\u001b[31ma\u001b[0m');
});

describe('exit codes', () => {
  it.each([
    [[], exitCodes.ok],
    [[0, 0], exitCodes.ok],
    [[0, 4, 3], exitCodes.quarantine],
    [[4, 2, 3], exitCodes.changes],
    [[5, 1], exitCodes.error],
  ] as const)('of %j the lowest that is not 0 counts', (codes, expected) => { expect(firstOf(codes)).toBe(expected); });
});
