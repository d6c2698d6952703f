import type { Command } from 'commander';
import { adoptCommands } from './adopt.ts';
import { approveCommand, confirmStopCommand } from './approve.ts';
import type { CliContext } from './context.ts';
import { drillCommand } from './drill.ts';
import { explainCommand } from './explain.ts';
import { eventsCommand } from './events.ts';
import { historyCommand } from './history.ts';
import { leaderCommands } from './leader.ts';
import { maintenanceCommands } from './maintenance.ts';
import { ackCommand, nodeCommands } from './node.ts';
import { nodesCommand } from './nodes.ts';
import { pauseCommand, resumeCommand } from './pause.ts';
import { planCommand } from './plan.ts';
import { policyCommands } from './policies.ts';
import { processorsCommand } from './processors.ts';
import { repairCommands } from './repair.ts';
import { simulateCommand } from './simulate.ts';
import { statusCommand } from './status.ts';
import { nodeTokenCommands, tokenCommands } from './tokens.ts';

/** Every operation of `src/operator/registry.ts` as a command. */
export const operatorCommands: readonly ((program: Command, context: CliContext) => void)[] = [
  statusCommand, planCommand, historyCommand,
  approveCommand, confirmStopCommand, pauseCommand, resumeCommand, ackCommand, maintenanceCommands, leaderCommands, repairCommands, adoptCommands, policyCommands, nodeCommands, nodeTokenCommands, tokenCommands,
  nodesCommand, processorsCommand, eventsCommand, explainCommand, simulateCommand, drillCommand,
];
