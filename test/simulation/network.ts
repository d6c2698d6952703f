import type { Kernel } from './kernel.ts';

/** Who talks over a link: `n1-dory`, `n1-api`, `i1-db`, `i1-git`, `i1-api`. Cuts of one link add up: it is up when all are mended. */
export class Network {
  /** The share of requests of agents that get lost on their way, and of answers. */
  loss = 0;
  readonly #kernel: Kernel;
  readonly #cuts = new Map<string, number>();
  readonly #onMend: ((link: string) => void)[] = [];

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  cut(link: string): void {
    this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
  }

  mend(link: string): void {
    const left = (this.#cuts.get(link) ?? 0) - 1;
    if (left > 0) this.#cuts.set(link, left);
    else this.#cuts.delete(link);
    if (left <= 0) for (const told of this.#onMend) told(link);
  }

  up(link: string): boolean {
    return !this.#cuts.has(link);
  }

  whenMended(told: (link: string) => void): void {
    this.#onMend.push(told);
  }

  /**
   * Delivers once, later, if the link is up at both ends of the way; else never. Two messages may overtake each other.
   * What is lost on a stream (TCP) is sent again: only `lossy` messages get lost on a link that is up.
   */
  send(link: string, deliver: () => void, lossy = false): void {
    const { random } = this.#kernel;
    if (!this.up(link) || (lossy && random.chance(this.loss))) return;
    const delay = random.chance(0.02) ? random.between(100, 900) : random.between(1, 40);
    this.#kernel.after(delay, () => { if (this.up(link)) deliver(); });
  }
}
