import { stringify } from 'yaml';

/** Where a command writes, and how: handed in by `main`, so that commands know no process. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** Whether standard output may show colours: a terminal, and NO_COLOR not set. */
  readonly color: boolean;
}

export const formats = ['table', 'wide', 'json', 'yaml'] as const;
export type Format = (typeof formats)[number];

export interface Column<Row> {
  readonly header: string;
  readonly of: (row: Row) => string;
  /** Shown with `-o wide` only. */
  readonly wide?: boolean;
}

/** Columns as kubectl prints them: upper-case headers, two or more spaces between, `<none>` for nothing. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], format: 'table' | 'wide'): string {
  const shown = columns.filter((column) => format === 'wide' || column.wide !== true);
  const cells = [shown.map(({ header }) => header), ...rows.map((row) => shown.map(({ of }) => printable(of(row)) || '<none>'))];
  const widths = shown.map((_, i) => Math.max(...cells.map((line) => line[i]?.length ?? 0)));
  return cells.map((line) => line.map((cell, i) => (i === line.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + 3))).join('')).join('\n') + '\n';
}

/** A document for machines, or the table. */
export function render<Row>(format: Format, document: unknown, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  if (format === 'json') return `${JSON.stringify(document, null, 2)}\n`;
  if (format === 'yaml') return stringify(document);
  return table(columns, rows, format);
}

/** Names come from a database that others write: what a terminal would obey is shown as text instead. Of one line. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same of several lines. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

const codes = { red: 31, green: 32, yellow: 33, cyan: 36, bold: 1, dim: 2 } as const;
export type Paint = (color: keyof typeof codes, text: string) => string;

export function painter(color: boolean): Paint {
  return (name, text) => (color ? `\u001b[${String(codes[name])}m${text}\u001b[0m` : text);
}
