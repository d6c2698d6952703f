import { Failure } from '../model/failure.ts';

/** One page of a list, of rows that were read with one more than the limit; the extra one says that there is a next page. */
export function page<Row, Item>(rows: readonly Row[], limit: number, item: (row: Row) => Item, cursor: (row: Row) => string): { items: Item[]; continue: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { items: shown.map(item), continue: rows.length > limit && last !== undefined ? cursor(last) : null };
}

/** `continue` of a list that is ordered by a number. @throws Failure `invalid-input` */
export function numberCursor(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (/^\d{1,18}$/.test(text)) return text;
  throw badCursor(text);
}

const mend = 'give what the page before said, or leave it out';

export function badCursor(text: string): Failure {
  return new Failure('invalid-input', `continue: ${mend}.`, { problems: [{ field: 'continue', value: JSON.stringify(text.slice(0, 78)), mend }] });
}
