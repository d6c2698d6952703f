import type { Step } from '../../src/cycle.ts';
import { plan } from '../../src/plan/plan.ts';
import { withLargeFleet, type LargeFleet, type LargeFleetOptions, type TimedCycle } from './large-fleet.ts';
import { atMost, check, count, median, plain, timed, type BenchRow, type BenchSize } from './measure.ts';

/**
 * The whole engine at its design size: the first commit, plans of the whole fleet, cycles with nothing to do, and the
 * way from a loss that can be seen in the database to a pushed commit whose revision is recorded.
 */
export function benchFailover(database: Pick<LargeFleetOptions, 'pool' | 'url'>, { fleet, rounds }: BenchSize): Promise<readonly BenchRow[]> {
  const moves = fleet / 50;
  return withLargeFleet({ ...database, processors: fleet }, async (large) => {
    const first = await large.placeAll();
    check(sum(first.map(({ report }) => report.planned.changes.length)) === fleet && first.every(({ report }) => report.publication?.kind === 'pushed'), 'the first cycles did not place the fleet');
    const idle = await idleCycles(large, rounds * 2 + 1);
    const atRest = await planTimes(large, rounds * 2 + 1);
    const failovers = await failoverCycles(large, rounds, moves);
    await large.checkRemote();
    return [
      plain(`first placements of ${count(fleet)}, in ${String(first.length)} commits`, sum(first.map(({ total }) => total)), 'ms'),
      ...stepRows(first, sum),
      atMost(`plan of ${count(fleet)} at rest`, atRest, 'ms', 100),
      atMost(`plan of ${count(moves)} moves of ${count(fleet)}`, failovers.planMs, 'ms', 100),
      atMost(`idle cycle, ${count(fleet)} processors, no write, no git`, median(idle.map(({ total }) => total)), 'ms', 250),
      ...stepRows(idle),
      atMost(`verdict → pushed commit, ${count(moves)} moves of ${count(fleet)}`, median(failovers.cycles.map(({ total }) => total)), 'ms', 1000),
      ...stepRows(failovers.cycles),
    ];
  });
}

async function idleCycles(large: LargeFleet, rounds: number): Promise<readonly TimedCycle[]> {
  const cycles: TimedCycle[] = [];
  for (let i = 0; i < rounds; i += 1) cycles.push(await large.cycle());
  await large.withoutTrace(() => large.stages.observe().then((snapshot) => large.stages.decide(snapshot, plan(snapshot))).then(() => large.stages.render()));
  check(cycles.every(({ report }) => !report.decision.wrote && report.publication === null), 'a cycle with nothing to do did something');
  return cycles;
}

async function planTimes(large: LargeFleet, rounds: number): Promise<number> {
  const snapshot = await large.stages.observe();
  const spans: number[] = [];
  for (let i = 0; i < rounds; i += 1) spans.push((await timed(() => plan(snapshot))).ms);
  return median(spans);
}

/** Each round loses other nodes, for good. */
async function failoverCycles(large: LargeFleet, rounds: number, moves: number): Promise<{ readonly cycles: readonly TimedCycle[]; readonly planMs: number }> {
  const cycles: TimedCycle[] = [];
  const atOnce = moves / 10;
  for (let i = 0; i < rounds; i += 1) {
    await large.lose(large.nodes.slice(i * atOnce, (i + 1) * atOnce));
    const timedCycle = await large.cycle();
    const { planned, publication } = timedCycle.report;
    check(planned.changes.length === moves && planned.changes.every(({ kind }) => kind === 'move'), `${String(planned.changes.length)} changes instead of ${String(moves)} moves`);
    check(publication?.kind === 'pushed', 'the moves were not pushed');
    cycles.push(timedCycle);
    // Then the fleet is at rest again, as it would be seconds later.
    await large.cycle();
  }
  return { cycles, planMs: median(cycles.map(({ steps }) => steps.planned)) };
}

const stages: Readonly<Record<Step, string>> = { observed: 'observe', planned: 'plan', decided: 'decide', rendered: 'render', committed: 'commit' };

function stepRows(cycles: readonly TimedCycle[], of: (values: readonly number[]) => number = median): readonly BenchRow[] {
  return Object.entries(stages).map(([step, name]) => plain(`  ${name}`, of(cycles.map(({ steps }) => steps[step as Step])), 'ms'));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
