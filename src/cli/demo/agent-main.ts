/* eslint-disable dory/settings-as-values -- the entry of a process of its own, as src/main.ts is of the program */
import { systemClock } from '../../platform/clock.ts';
import { startAgent, type Agent } from './agent.ts';
import type { AgentOrder, AgentReport } from './protocol.ts';

/** One node of the demo, forked by `cluster.ts`. It ends with its parent, however that ends. */
const off = new AbortController();
let agent: Agent | null = null;

process.on('message', (order: AgentOrder) => {
  if (order.kind === 'change') agent?.take(order);
  else agent = startAgent({ options: order.options, clock: systemClock, report, signal: off.signal });
});
process.once('disconnect', () => process.exit(0));

function report(message: AgentReport): void {
  if (process.connected) process.send?.(message);
}
