import type { Command } from 'commander';
import { approveCommand, confirmStopCommand } from './approve.ts';
import type { CliContext } from './context.ts';
import { leaderCommands } from './leader.ts';
import { maintenanceCommands } from './maintenance.ts';
import { ackCommand, nodeCommands } from './node.ts';
import { pauseCommand, resumeCommand } from './pause.ts';
import { policyCommands } from './policies.ts';

/** Every operation of `src/operator/registry.ts` as a command. */
export const operatorCommands: readonly ((program: Command, context: CliContext) => void)[] = [
  approveCommand, confirmStopCommand, pauseCommand, resumeCommand, ackCommand, maintenanceCommands, leaderCommands, policyCommands, nodeCommands,
];
