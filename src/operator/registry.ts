import type { Operation } from './operation.ts';

/** Everything that operators can do. What is in here has a route and a command. */
export const operations: readonly Operation[] = [];
