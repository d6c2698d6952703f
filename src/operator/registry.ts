import { adopt, adoptBack, adoptStart } from './adopt.ts';
import { approve, confirmStop } from './approve.ts';
import { drill } from './drill.ts';
import { explain } from './explain.ts';
import { eventsList } from './events-view.ts';
import { history } from './history.ts';
import { leader, leaderStepDown } from './leader.ts';
import { maintenanceBegin, maintenanceEnd, maintenanceList } from './maintenance.ts';
import { nodesList } from './nodes-view.ts';
import { ack, nodeDecommission, nodeRegister } from './nodes.ts';
import type { Operation } from './operation.ts';
import { pause, resume } from './pause.ts';
import { processorsList } from './processors-view.ts';
import { repairEpochs } from './repair.ts';
import { planNow } from './plan.ts';
import { nodePowerOffConfirmed } from './power-off.ts';
import { policyClear, policyList, policySet } from './policies.ts';
import { simulate } from './simulate.ts';
import { status } from './status-view.ts';
import { nodeTokenCreate, nodeTokenList, nodeTokenRevoke, nodeTokenRotate, tokenCreate, tokenList, tokenRevoke, tokenRotate } from './tokens.ts';

/** Everything that operators can do. What is in here has a route and a command. */
export const operations: readonly Operation[] = [
  status, planNow, history,
  approve, confirmStop,
  pause, resume,
  maintenanceBegin, maintenanceEnd, maintenanceList,
  ack, nodeRegister, nodeDecommission, nodePowerOffConfirmed,
  nodeTokenCreate, nodeTokenRotate, nodeTokenRevoke, nodeTokenList,
  tokenCreate, tokenRotate, tokenRevoke, tokenList,
  policySet, policyClear, policyList,
  leader, leaderStepDown, repairEpochs,
  adopt, adoptStart, adoptBack,
  nodesList, processorsList, eventsList,
  explain, simulate, drill,
];
