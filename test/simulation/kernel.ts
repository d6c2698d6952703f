import { Random } from './random.ts';

interface Pending {
  readonly at: number;
  /** Breaks ties: what was planned first happens first. */
  readonly order: number;
  readonly act: () => void;
  /** Nothing to do any more when it comes: it is no step. */
  readonly idle: (() => boolean) | null;
}

/** True time, in whole milliseconds, and what happens in it: one event is one step. */
export class Kernel {
  now = 0;
  steps = 0;
  readonly random: Random;
  readonly #heap: Pending[] = [];
  #order = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  after(ms: number, act: () => void): void {
    this.at(this.now + ms, act);
  }

  /** As `after`; comes to nothing where `idle` says so by then. */
  timer(ms: number, idle: () => boolean, act: () => void): void {
    this.#push(this.now + ms, act, idle);
  }

  at(moment: number, act: () => void): void {
    this.#push(moment, act, null);
  }

  #push(moment: number, act: () => void, idle: (() => boolean) | null): void {
    const heap = this.#heap;
    const event = { at: Math.max(moment, this.now), order: this.#order++, act, idle };
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = event;
  }

  /** Lets everything happen up to `end`; `each` looks at the world after every step, and ends the run by answering false. */
  run(end: number, each: () => boolean): void {
    for (let next = this.#take(end); next !== null; next = this.#take(end)) {
      this.now = next.at;
      if (next.idle?.() === true) continue;
      this.steps += 1;
      next.act();
      if (!each()) return;
    }
    this.now = end;
  }

  #take(end: number): Pending | null {
    const heap = this.#heap;
    const first = heap[0];
    if (first === undefined || first.at > end) return null;
    const last = heap.pop()!;
    if (heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(event: Pending): void {
    const heap = this.#heap;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (!before(heap[child]!, event)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = event;
  }
}

function before(a: Pending, b: Pending): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
