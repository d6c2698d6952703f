import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { processorsList, type ProcessorItem } from '../operator/processors-view.ts';
import type { CliContext } from './context.ts';
import { listCommand } from './operation-command.ts';
import type { Column } from './output.ts';

const age = (ms: number | null): string => (ms === null ? '' : formatMillis(millis(ms)));
const number = (value: number | null): string => (value === null ? '' : String(value));

const columns: readonly Column<ProcessorItem>[] = [
  { header: 'NAME', of: ({ name }) => name },
  { header: 'TEMPLATE', of: ({ template }) => template ?? '' },
  { header: 'HOME', of: ({ home }) => home ?? '' },
  { header: 'TARGET', of: ({ target }) => target ?? '' },
  { header: 'PHASE', of: ({ phase, held, quarantined }) => [phase ?? 'unplaced', ...(held === null ? [] : ['held']), ...(quarantined ? ['quarantined'] : [])].join(',') },
  { header: 'EPOCH', of: ({ epoch }) => number(epoch) },
  { header: 'REASON', of: ({ reason }) => reason ?? '' },
  { header: 'HEALTH', of: ({ health }) => health ?? '' },
  { header: 'ROLL-OUT', of: ({ rollout }) => rollout ?? '' },
  { header: 'LAST BEAT', of: ({ heartbeatAgeMs }) => age(heartbeatAgeMs) },
  { header: 'AGE', of: ({ ageMs }) => age(ageMs) },
  { header: 'ID', of: ({ id }) => id, wide: true },
  { header: 'HELD', of: ({ held }) => held ?? '', wide: true },
  { header: 'POD', of: ({ pod }) => pod ?? '', wide: true },
  { header: 'NODE IP', of: ({ nodeIp }) => nodeIp ?? '', wide: true },
  { header: 'ROLE', of: ({ role }) => role ?? '', wide: true },
  { header: 'SDK EPOCH', of: ({ sdkEpoch }) => number(sdkEpoch), wide: true },
  { header: 'STATE', of: ({ stateSizeBytes }) => bytes(stateSizeBytes), wide: true },
  { header: 'STATE SYNC', of: ({ lastStateSync }) => lastStateSync ?? '', wide: true },
  { header: 'LEASE', of: ({ leaseUntil }) => leaseUntil ?? '', wide: true },
  { header: 'FAILURE', of: ({ rolloutWhy }) => rolloutWhy ?? '', wide: true },
];

export function processorsCommand(program: Command, context: CliContext): void {
  listCommand(program, context, {
    operation: processorsList,
    columns,
    watched: {
      key: ({ id }) => id,
      state: ({ home, target, phase, epoch, reason, held, quarantined, health, rollout, role }) => ({ home, target, phase, epoch, reason, held, quarantined, health, rollout, role }),
    },
    details: 'AGE is how long it is where it is. `dory explain NAME` says why.',
    examples: ['processors', 'processors --node edge-17', 'processors --away -o wide', 'processors --held -w'],
  });
}

/** `1.5 MiB` */
function bytes(count: number | null): string {
  if (count === null) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const value = count / 1024 ** power;
  return `${power === 0 ? String(value) : value.toFixed(1)} ${units[power] ?? ''}`;
}
