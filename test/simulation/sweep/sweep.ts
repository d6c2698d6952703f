import { Cycle, persons, type Outcome, type Planner } from './cycle.ts';
import { apply, faults, heal, tick, toggle, type Fault } from './events.ts';
import { names } from './look.ts';
import { copy, firstState, homes, nameOf, type State, type Variant } from './state.ts';

export interface Swept {
  readonly states: number;
  readonly transitions: number;
  /** Events from the beginning to the state that is farthest from it. */
  readonly depth: number;
  /** Whether there is no state left that was not looked at. */
  readonly complete: boolean;
  /** The first rule that was broken, with the events that lead there. */
  readonly broken: string | null;
}

/** How a state was reached first. */
interface Known {
  readonly parent: string | null;
  readonly event: string;
}

interface Successor {
  readonly event: string;
  readonly state: State;
  readonly broken: string | null;
}

export interface Limits {
  readonly faults: number;
  readonly slips: number;
  /** What may fail. */
  readonly kinds?: readonly Fault[];
  /** So many states are too many to finish. */
  readonly states: number;
}

/** Breadth first over all that can happen; every state is held against the rules, and must find its way back to rest. */
export function sweep(variant: Variant, limits: Limits, planner?: Planner): Swept {
  const cycle = new Cycle(variant, planner);
  const first = started(variant, limits, cycle);
  const known = new Map<string, Known>([[nameOf(first), { parent: null, event: 'start' }]]);
  const restful = new Set<string>();
  let states = [first];
  let depth = 0;
  let transitions = 0;
  for (; states.length > 0; depth += 1) {
    const reached: State[] = [];
    for (const from of states) {
      const name = nameOf(from);
      const ended = (broken: string | null): Swept => ({ states: known.size, transitions, depth, complete: false, broken: broken === null ? null : `${storyOf(known, name)}\n${broken}` });
      const stuck = wayToRest(cycle, variant, from, restful);
      if (stuck !== null) return ended(stuck);
      for (const { event, state, broken } of successors(cycle, variant, from, limits.kinds ?? faults)) {
        transitions += 1;
        const wrong = broken ?? twoWriters(state, variant);
        if (wrong !== null) return ended(`${event}\n${wrong}`);
        const key = nameOf(state);
        if (known.has(key)) continue;
        if (known.size >= limits.states) return ended(null);
        known.set(key, { parent: name, event });
        reached.push(state);
      }
    }
    states = reached;
  }
  return { states: known.size, transitions, depth, complete: true, broken: null };
}

/** All agents have beaten, and nothing is left to do. */
function started(variant: Variant, limits: Limits, cycle: Cycle): State {
  const state = firstState(variant, limits);
  tick(state, variant);
  cycle.run(state, 'committed');
  return state;
}

/** How one step may go. All but the first are slips: a process dies in mid-cycle, nobody leads, or somebody is slow. */
const steps = ['all', 'unapplied', 'pushed', 'decided', 'raced', 'idle'] as const;
type Step = (typeof steps)[number];

function take(cycle: Cycle, variant: Variant, state: State, step: Step): Outcome | null {
  if (step !== 'all') state.slipsLeft -= 1;
  if (step === 'raced') {
    // Planned before the tick, decided after it: whoever spoke up meanwhile must be heard.
    const seen = copy(state);
    const planned = cycle.plan(seen);
    tick(state, variant);
    return cycle.decide(state, planned, seen, 'committed');
  }
  tick(state, variant);
  if (step === 'idle') return null;
  const outcome = cycle.run(state, step === 'all' || step === 'unapplied' ? 'committed' : step);
  if (step === 'all') apply(state);
  return outcome;
}

function* successors(cycle: Cycle, variant: Variant, from: State, kinds: readonly Fault[]): Generator<Successor> {
  for (const step of steps) {
    if (step !== 'all' && from.slipsLeft === 0) continue;
    const state = copy(from);
    const outcome = take(cycle, variant, state, step);
    yield { event: `step: ${step}`, state, broken: outcome?.broken ?? null };
    if (outcome?.plan.holds.some(({ needsPerson }) => needsPerson) !== true) continue;
    const answered = copy(state);
    if (persons(answered, outcome.plan)) yield { event: `step: ${step}, and a person acts`, state: answered, broken: null };
  }
  for (const fault of kinds) {
    const state = copy(from);
    if (toggle(state, fault)) yield { event: fault, state, broken: null };
  }
}

function twoWriters({ processors }: State, variant: Variant): string | null {
  for (const [i, { pods, unfenced }] of processors.entries()) {
    const writers = pods.filter(({ writing }) => writing);
    if (writers.length < 2) continue;
    const oldest = Math.min(...writers.map(({ epoch }) => epoch));
    if (variant.agents[i] !== 'fenced' && unfenced.includes(oldest)) continue;
    return `two writers of ${names[i] ?? ''}: epochs ${writers.map(({ epoch, node }) => `${String(epoch)} on ${node}`).join(' and ')}`;
  }
  return null;
}

const longestWay = 60;

/** Everything is repaired, people answer, and cycles run: soon each processor must run once, at home, with nothing left to write. */
function wayToRest(cycle: Cycle, variant: Variant, from: State, restful: Set<string>): string | null {
  const state = copy(from);
  heal(state);
  const passed: string[] = [];
  for (let i = 0; i < longestWay; i += 1) {
    const name = nameOf(state);
    if (restful.has(name)) break;
    passed.push(name);
    tick(state, variant);
    const { plan, wrote, broken } = cycle.run(state, 'committed');
    if (broken !== null) return broken;
    const acted = persons(state, plan);
    apply(state);
    const wrong = twoWriters(state, variant);
    if (wrong !== null) return wrong;
    if (!wrote && !acted && atHome(state)) break;
    if (i === longestWay - 1) return `no way back to rest: ${state.processors.map(({ row, pods }) => `${JSON.stringify(row)} ${JSON.stringify(pods)}`).join('; ')} ${JSON.stringify(plan.holds)}`;
  }
  for (const name of passed) restful.add(name);
  return null;
}

function atHome({ processors }: State): boolean {
  return processors.every(({ row, pods }, i) => row?.phase === 'active' && row.target === homes[i] && pods.length === 1 && pods[0]?.epoch === row.epoch && pods[0].writing);
}

/** Each state's name tells it whole. */
function storyOf(known: ReadonlyMap<string, Known>, name: string): string {
  const lines: string[] = [];
  for (let at: string | null = name; at !== null;) {
    const entry: Known | undefined = known.get(at);
    lines.unshift(`${entry?.event ?? ''} → ${at}`);
    at = entry?.parent ?? null;
  }
  return lines.join('\n');
}
