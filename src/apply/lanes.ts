import { millis, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';

/** What became of one try. */
export type Step<R> =
  | { readonly done: R }
  /** To be tried again after so long. It holds no lane meanwhile. */
  | { readonly again: Millis };

export interface LanesOptions<T, R> {
  readonly clock: Clock;
  /** Aborted: nothing more is begun, and waits end; what is under way is awaited. */
  readonly signal: AbortSignal;
  /** How many at once, at this moment. */
  readonly limit: () => number;
  /** On the monotonic clock: nothing begins before. */
  readonly pausedUntil: () => Millis;
  /** The next items, or null: there are no more. Asked when few are left, and not again before it has answered. If it rejects, nothing more is begun, and so does the whole. */
  readonly more: () => Promise<readonly T[] | null>;
  /** If it rejects, nothing more is begun, and so does the whole. */
  readonly work: (item: T) => Promise<Step<R>>;
  readonly onDone: (item: T, result: R) => void;
}

/** While so many wait for another try, no more are taken: something is wrong with all of them. */
const mostWaiting = 1_000;

/**
 * Works on all items, in their order, as many at once as `limit` says. A slow one holds up no other, wherever it stands.
 * @returns the items that were taken and not finished, because of `signal`
 */
export function runInLanes<T, R>(options: LanesOptions<T, R>): Promise<readonly T[]> {
  return new Promise((resolve, reject) => {
    const lanes: Lanes<T> = { ready: [], waiting: [], running: new Set(), asking: false, drained: false, trouble: [], timer: null };
    const pump = (): void => {
      // An abort costs as much as a small object's request, also of what has ended.
      lanes.timer?.abort();
      lanes.timer = null;
      const halted = options.signal.aborted || lanes.trouble.length > 0;
      if (!halted) {
        startWhatMay(lanes, options, pump);
        askForMore(lanes, options, pump);
      }
      if (lanes.running.size > 0 || lanes.asking || (!halted && isOpen(lanes))) {
        if (!halted) wake(lanes, options, pump);
        return;
      }
      options.signal.removeEventListener('abort', pump);
      const [trouble] = lanes.trouble;
      if (trouble !== undefined) reject(trouble);
      else resolve([...lanes.waiting.map(({ item }) => item), ...lanes.ready.reverse()]);
    };
    options.signal.addEventListener('abort', pump);
    pump();
  });
}

interface Lanes<T> {
  /** The next one last. */
  ready: T[];
  waiting: { readonly item: T; readonly due: Millis }[];
  readonly running: Set<T>;
  /** `more` was asked, and has not answered. */
  asking: boolean;
  /** There are no more. */
  drained: boolean;
  readonly trouble: Error[];
  /** Ends the one wait of all; null while nothing waits. */
  timer: AbortController | null;
}

function isOpen<T>({ ready, waiting, drained }: Lanes<T>): boolean {
  return ready.length > 0 || waiting.length > 0 || !drained;
}

/** While there is still enough to do, so that no lane stands still for it. */
function askForMore<T, R>(lanes: Lanes<T>, { more, limit }: LanesOptions<T, R>, pump: () => void): void {
  if (lanes.asking || lanes.drained || lanes.ready.length > limit() || lanes.waiting.length >= mostWaiting) return;
  lanes.asking = true;
  more().then((items) => {
    if (items === null) lanes.drained = true;
    else lanes.ready = [...[...items].reverse(), ...lanes.ready];
  }).catch((error: unknown) => { lanes.trouble.push(errorOf(error)); }).finally(() => {
    lanes.asking = false;
    pump();
  });
}

function startWhatMay<T, R>(lanes: Lanes<T>, options: LanesOptions<T, R>, pump: () => void): void {
  const now = options.clock.monotonic();
  if (options.pausedUntil() > now) return;
  const due = lanes.waiting.filter((entry) => entry.due <= now);
  if (due.length > 0) {
    lanes.waiting = lanes.waiting.filter((entry) => entry.due > now);
    // What has waited goes first: it was begun first.
    lanes.ready.push(...due.map(({ item }) => item).reverse());
  }
  while (lanes.running.size < options.limit()) {
    const item = lanes.ready.pop();
    if (item === undefined) return;
    begin(lanes, options, item, pump);
  }
}

function begin<T, R>(lanes: Lanes<T>, { clock, work, onDone }: LanesOptions<T, R>, item: T, pump: () => void): void {
  lanes.running.add(item);
  work(item).then((step) => {
    if ('again' in step) lanes.waiting.push({ item, due: millis(clock.monotonic() + step.again) });
    else onDone(item, step.done);
  }).catch((error: unknown) => { lanes.trouble.push(errorOf(error)); }).finally(() => {
    lanes.running.delete(item);
    pump();
  });
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

/** Looks again when the pause is over, or the first of those that wait is due. The end of something under way looks again by itself. */
function wake<T, R>(lanes: Lanes<T>, { clock, limit, pausedUntil }: LanesOptions<T, R>, pump: () => void): void {
  if (lanes.running.size >= limit()) return;
  const now = clock.monotonic();
  const next = Math.max(pausedUntil(), lanes.ready.length > 0 ? now : Math.min(...lanes.waiting.map(({ due }) => due)));
  if (next === Number.POSITIVE_INFINITY) return;
  const timer = new AbortController();
  lanes.timer = timer;
  clock.sleep(millis(Math.max(1, next - now)), timer.signal).then(pump, () => undefined);
}
