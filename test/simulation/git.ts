import type { Placement } from '../../src/model/placement.ts';
import type { Kernel } from './kernel.ts';
import type { Network } from './network.ts';

export interface Commit {
  readonly id: number;
  readonly parent: number | null;
  /** The newest revision that is in it. */
  readonly revision: number;
  readonly by: string;
  readonly tree: Tree;
}

/** The manifests: one of each processor, as its row says. */
export type Tree = ReadonlyMap<string, Placement>;

/** The remote: commits, of which each has one parent, and a branch that only moves forward by compare-and-swap. */
export class Remote {
  up = true;
  readonly commits: Commit[] = [];
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #onPush: (before: Commit | null, commit: Commit) => void;

  constructor(kernel: Kernel, network: Network, onPush: (before: Commit | null, commit: Commit) => void) {
    this.#kernel = kernel;
    this.#network = network;
    this.#onPush = onPush;
  }

  get head(): Commit | null {
    return this.commits.at(-1) ?? null;
  }

  /** `null`: no answer; a push may have arrived all the same. */
  request<T>(from: string, run: () => T, done: (answer: T | null) => void): void {
    let answered = false;
    const answer = (value: T | null): void => {
      if (answered) return;
      answered = true;
      done(value);
    };
    this.#kernel.timer(15_000, () => answered, () => answer(null));
    this.#network.send(`${from}-git`, () => {
      if (!this.up) return;
      const value = run();
      this.#network.send(`${from}-git`, () => { if (this.up) answer(value); });
    });
  }

  /** Whether the branch now ends in this commit. */
  push(commit: Omit<Commit, 'id'>, compare: boolean): Commit | null {
    if (compare && (this.head?.id ?? null) !== commit.parent) return null;
    const pushed = { ...commit, id: this.commits.length + 1 };
    this.#onPush(this.head, pushed);
    this.commits.push(pushed);
    return pushed;
  }
}
