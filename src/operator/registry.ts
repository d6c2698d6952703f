import { approve, confirmStop } from './approve.ts';
import { leader, leaderStepDown } from './leader.ts';
import { maintenanceBegin, maintenanceEnd, maintenanceList } from './maintenance.ts';
import { ack, nodeDecommission, nodeRegister } from './nodes.ts';
import type { Operation } from './operation.ts';
import { pause, resume } from './pause.ts';
import { policyClear, policyList, policySet } from './policies.ts';

/** Everything that operators can do. What is in here has a route and a command. */
export const operations: readonly Operation[] = [
  approve, confirmStop,
  pause, resume,
  maintenanceBegin, maintenanceEnd, maintenanceList,
  ack, nodeRegister, nodeDecommission,
  policySet, policyClear, policyList,
  leader, leaderStepDown,
];
