import { startDemoCluster } from '../../src/cli/demo/cluster.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';

/** Starts a cluster on the repository and server that it is given, prints the agents' process ids, and stays. */
const [repository = '', server = '', agentProgram = ''] = process.argv.slice(2);
const cluster = startDemoCluster({
  repository, server, branch: 'main', cluster: 'default', nodes: ['edge-1', 'edge-2'], intervalMs: 20, clock: systemClock, log: silentLog,
  agentProgram,
});
process.stdout.write(`${JSON.stringify(cluster.state().nodes.map(({ pid }) => pid))}\n`);
process.stdin.resume();
