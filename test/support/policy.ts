import type { Policy } from '../../src/model/snapshot.ts';
import { millis, seconds } from '../../src/model/time.ts';

const minutes = (n: number) => seconds(n * 60);

/** The thresholds of tests: those of `config/defaults.yaml`. */
export const testPolicy: Policy = {
  heartbeatStale: seconds(60),
  notReadyGrace: seconds(30),
  startupGrace: minutes(10),
  stabilityWindow: seconds(60),
  longestWindow: minutes(240),
  flapMemory: minutes(480),
  heartbeatGap: seconds(30),
  intakeFresh: seconds(15),
  lease: seconds(30),
  fenceMargin: seconds(10),
  fenceBound: minutes(5),
  guard: { window: minutes(5), degradedShare: 0.1, panicShare: 0.33, minNodes: 3, ratePerSecond: 5, burst: 100, lateBeat: millis(20_000) },
  budget: { window: minutes(5), share: 0.1, floor: 25 },
  processors: {
    onFailure: 'replace', failback: 'auto', failbackWindow: null, targets: ['failover-target', 'managed'],
    writerAlive: 'move', unfenced: 'replace', stateLoss: 'refuse', priority: 0,
  },
  managedPool: { architectures: ['amd64'], gpu: false },
};
