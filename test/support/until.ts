import { setTimeout as sleep } from 'node:timers/promises';

/** Asks again and again until the answer is true. @throws Error after `limitMs`, naming what was waited for */
export async function until(holds: () => boolean | Promise<boolean>, what: string, limitMs = 120_000): Promise<void> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > limitMs) throw new Error(`waited ${String(limitMs)} ms in vain until ${what}`);
    await sleep(20);
  }
}
