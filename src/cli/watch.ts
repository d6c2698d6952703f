import { isDeepStrictEqual } from 'node:util';
import { seconds } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { render, table, type Column, type Format } from './output.ts';

/** As often as a person looks. */
const interval = seconds(2);

/** What `-w` waits by, and until when. */
export interface Watch {
  readonly clock: Pick<Clock, 'sleep'>;
  readonly signal: AbortSignal;
  readonly out: (text: string) => void;
}

interface Watched<Output> {
  /** What counts as a change. */
  readonly watched: (output: Output) => unknown;
  readonly print: (output: Output) => string;
}

/** Prints a page, and again whenever it changes, until the program is told to stop. */
export async function watchPage<Output>(watch: Watch, look: () => Promise<Output>, { watched, print }: Watched<Output>): Promise<void> {
  let last: unknown = null;
  await repeat(watch, async () => {
    const output = await look();
    const state = watched(output);
    if (isDeepStrictEqual(state, last)) return;
    last = state;
    watch.out(print(output));
  });
}

interface WatchedList<Item> {
  readonly key: (item: Item) => string;
  readonly state: (item: Item) => unknown;
  /** The list comes newest first; what is new is printed below what is old. */
  readonly newestFirst?: boolean;
  readonly columns: readonly Column<Item>[];
  readonly format: Format;
}

/** Prints a list, then each row that is new or has changed, until the program is told to stop. */
export async function watchList<Item>(watch: Watch, look: () => Promise<readonly Item[]>, list: WatchedList<Item>): Promise<void> {
  const { key, state, columns, format } = list;
  let states = new Map<string, unknown>();
  let first = true;
  await repeat(watch, async () => {
    const items = await look();
    const changed = items.filter((item) => !states.has(key(item)) || !isDeepStrictEqual(states.get(key(item)), state(item)));
    states = new Map(items.map((item) => [key(item), state(item)]));
    const rows = list.newestFirst === true ? changed.toReversed() : changed;
    if (rows.length > 0) watch.out(printRows(rows, columns, format, first));
    if (rows.length > 0) first = false;
  });
}

/** The header once; documents one by one, as a reader of a stream takes them. */
function printRows<Item>(rows: readonly Item[], columns: readonly Column<Item>[], format: Format, first: boolean): string {
  if (format === 'json') return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  if (format === 'yaml') return rows.map((row) => `---\n${render(format, row, [], [])}`).join('');
  const text = table(columns, rows, format);
  return first ? text : text.slice(text.indexOf('\n') + 1);
}

async function repeat({ signal, clock }: Watch, step: () => Promise<void>): Promise<void> {
  do await step();
  while (await clock.sleep(interval, signal).then(() => true, () => false));
}
