import type { ReasonCode } from '../model/reasons.ts';

/** What a person can do about a hold or a refusal, as a command; null where time or the world has to. `name`: the processor's. */
export function mendOf(reason: ReasonCode, name: string, home: string | null): string | null {
  return commands[reason]?.(name, home ?? 'NODE') ?? null;
}

type Command = (name: string, node: string) => string;

const confirm: Command = (name) => `dory confirm-stop ${name} --reason …`;
const approve = (what: string): Command => () => `dory approve ${what} --reason …`;

const commands: Readonly<Partial<Record<ReasonCode, Command>>> = {
  'waiting-for-fence': confirm,
  'fence-unheard': confirm,
  'fence-overdue': confirm,
  'unfenced-held': confirm,
  'waiting-for-stability': (_name, node) => `dory ack ${node} --reason …`,
  'policy-hold': (name) => `dory policy set processor/${name} --on-failure replace --reason …`,
  'writer-alive-held': (name) => `dory policy set processor/${name} --writer-alive move --reason …`,
  'state-not-portable': (name) => `dory policy set processor/${name} --state-loss accept --reason …`,
  'not-adopted': (name) => `dory adopt start ${name} --reason …`,
  'not-alone': (name) => `dory adopt start ${name} --reason …`,
  'paused': () => 'dory resume --reason …',
  'locked': () => 'dory maintenance end …, as `dory maintenance list` names it',
  'guard-frozen': approve('guard'),
  'budget-exceeded': approve('budget'),
  'empty-result': approve('empty-result'),
};
