import type { CycleReport } from '../../cycle.ts';
import { Failure } from '../../model/failure.ts';
import type { Clock } from '../../platform/clock.ts';
import { millis } from '../../model/time.ts';
import { painter, printable, type Terminal } from '../output.ts';

/** What the demo tells, to a person as it happens or to a machine as JSON lines. */
export interface Narrator {
  /** A new chapter. */
  chapter(title: string): void;
  /** Something is under way or happened. */
  say(text: string): void;
  /** What git or a file says, as it is. */
  quote(text: string): void;
  /** A fact for machines; people see it in what is said. */
  fact(kind: string, value: Readonly<Record<string, unknown>>): void;
}

export function createNarrator({ out, color }: Terminal, clock: Clock, asJson: boolean): Narrator {
  const started = clock.monotonic();
  const at = (): number => Math.round((clock.monotonic() - started) / 100) / 10;
  if (asJson) {
    const line = (kind: string, value: Readonly<Record<string, unknown>>): void => { out(`${JSON.stringify({ at: at(), kind, ...value })}\n`); };
    return { chapter: (title) => { line('chapter', { title }); }, say: () => undefined, quote: () => undefined, fact: line };
  }
  const paint = painter(color);
  const stamp = (): string => paint('dim', `${at().toFixed(1).padStart(5)} s`);
  return {
    chapter: (title) => { out(`\n${paint('bold', title)}\n`); },
    say: (text) => { out(`${stamp()}  ${printable(text)}\n`); },
    quote: (text) => { out(`${text.trimEnd().split('\n').map((line) => `         ${paintDiff(printable(line.replaceAll('\t', '  ')), paint)}`).join('\n')}\n`); },
    fact: () => undefined,
  };
}

function paintDiff(line: string, paint: ReturnType<typeof painter>): string {
  if (line.startsWith('+') && !line.startsWith('+++')) return paint('green', line);
  if (line.startsWith('-') && !line.startsWith('---')) return paint('red', line);
  return line.startsWith('@@') ? paint('cyan', line) : line;
}

/** The cycles that have run, and those who wait for one. */
export class Reports {
  #waiting: { readonly accepts: (report: CycleReport) => boolean; readonly resolve: (report: CycleReport) => void }[] = [];

  take(report: CycleReport): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (one.accepts(report)) one.resolve(report);
      else this.#waiting.push(one);
    }
  }

  /** The next cycle that `accepts` takes, which sees each one once. @throws Failure if none comes in time */
  next(what: string, clock: Clock, signal: AbortSignal, accepts: (report: CycleReport) => boolean): Promise<CycleReport> {
    const late = new AbortController();
    const found = new Promise<CycleReport>((resolve) => { this.#waiting.push({ accepts, resolve }); });
    const expired = clock.sleep(patience, AbortSignal.any([signal, late.signal])).then(() => {
      throw stuck(what);
    });
    const first = Promise.race([found, expired]).finally(() => { late.abort(); });
    // Several are awaited one after the other; one that is given up meanwhile is nobody's loss.
    for (const promise of [first, expired]) promise.catch(() => undefined);
    return first;
  }
}

/** What was waited for did not come. */
export function stuck(what: string): Failure {
  return new Failure('demo-stuck', `The demo waited in vain for ${what}.`, { mend: 'Please report this with the output of `dory demo --log-level debug`.' });
}

/** Several times what any step takes on a slow machine. */
const patience = millis(45_000);
