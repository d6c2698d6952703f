import type { Command } from 'commander';
import { ack, nodeDecommission, nodeRegister, type NodeRecord } from '../operator/nodes.ts';
import { nodePowerOffConfirmed } from '../operator/power-off.ts';
import type { CliContext } from './context.ts';
import { groupCommand, pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function nodeCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'node', 'put edge nodes into service, and take them out', ['node register yard-edge-3 --reason "new machine"', 'node decommission yard-edge-3 --reason "sold"']);
  pageCommand(program, context, {
    operation: nodeRegister,
    positional: ['name'],
    details: 'A node that is there already stays as it is.',
    examples: ['node register yard-edge-3 --reason "new machine"', 'node register yard-edge-3 --failover-enabled false --reason "holds state that can\'t leave"'],
    page: (node) => `${node.changed ? 'registered' : 'registered before'} ${told(node)}\n`,
  });
  pageCommand(program, context, {
    operation: nodeDecommission,
    positional: ['node'],
    details: 'No heartbeat brings it back; `dory node register` does.',
    examples: ['node decommission yard-edge-3 --reason "sold"'],
    page: (node) => `${node.changed ? 'decommissioned' : 'decommissioned before'} ${told(node)}\n`,
  });
  pageCommand(program, context, {
    operation: nodePowerOffConfirmed,
    positional: ['node'],
    details: 'Only if you know that it is off: a node that still runs would write beside its successors. Where a cluster is connected, it is tainted out-of-service first, so that nothing starts there when it is on again; the taint goes when it shows life and nothing old is wanted there any more. Without one, keep it off until its processors have moved.',
    examples: ['node power-off-confirmed yard-edge-3 --reason "the fuse is out, I stand in front of it"'],
    page: ({ name, processors, changed }) => `${changed ? 'confirmed' : 'confirmed before'}: ${printable(name)} has no power; the stop of ${String(processors)} ${processors === 1 ? 'processor' : 'processors'} is confirmed\n`,
  });
}

const told = ({ name, id }: NodeRecord): string => `${printable(name)} (${id})`;

export function ackCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: ack,
    positional: ['node'],
    details: 'Each failure of a node doubles the time that it must be steady before its processors go home.',
    examples: ['ack yard-edge-2 --reason "the cable was replaced"'],
    page: ({ name, flaps }) => `forgot ${String(flaps)} ${flaps === 1 ? 'failure' : 'failures'} of ${printable(name)}\n`,
  });
}
