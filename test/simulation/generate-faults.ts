import type { Policy } from '../../src/model/snapshot.ts';
import type { Random } from './random.ts';
import type { Fault, NodeScript, ProcessorScript } from './script.ts';

/** Faults begin and end in this first part of a run. */
export const trouble = 10 * 60_000;

export interface Cast {
  readonly nodes: readonly NodeScript[];
  readonly processors: readonly ProcessorScript[];
  readonly instances: readonly string[];
}

/** Some faults by themselves, and some that belong together: where one thing fails while another recovers, most bugs live. */
export function generateFaults(random: Random, cast: Cast, policy: Policy): readonly Fault[] {
  const alone = Array.from({ length: random.between(2, 10) }, () => single(random, cast, random.between(20_000, trouble - 60_000)));
  const together = Array.from({ length: random.between(1, 4) }, () => conspiracy(random, cast, policy));
  return [...alone, ...together.flat()]
    .map((fault) => ('until' in fault ? { ...fault, until: Math.min(trouble, fault.until) } : fault))
    .sort((a, b) => a.at - b.at);
}

/** Short spans are as likely as long ones: thresholds lie between them. */
function span(random: Random): number {
  return Math.floor(1_000 * 2 ** (random.fraction() * 8));
}

type Maker<T> = readonly [weight: number, make: () => T];

function choose<T>(random: Random, makers: readonly Maker<T>[]): T {
  let left = random.between(1, makers.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, make] of makers) {
    left -= weight;
    if (left <= 0) return make();
  }
  throw new Error('nothing to choose');
}

function single(random: Random, cast: Cast, at: number): Fault {
  const until = at + span(random);
  const node = random.pick(cast.nodes).name;
  const instance = random.pick(cast.instances);
  const processor = random.pick(cast.processors).name;
  const cut = (...links: string[]): Fault => ({ at, until, kind: 'cut', links });
  return choose<Fault>(random, [
    [6, () => cut(`${node}-dory`)],
    [6, () => cut(`${node}-api`)],
    [6, () => cut(`${node}-dory`, `${node}-api`)],
    [4, () => cut(`${instance}-db`)],
    [3, () => cut(`${instance}-git`)],
    [3, () => cut(`${instance}-api`)],
    [2, () => ({ at, until, kind: 'loss', share: random.pick([0.05, 0.3]) })],
    [4, () => ({ at, until, kind: 'instance-crash', instance })],
    [2, () => ({ at, until, kind: 'instance-stop', instance })],
    [5, () => ({ at, until, kind: 'instance-pause', instance, frozen: random.chance(0.3) })],
    [5, () => ({ at, kind: 'crash-at-step', instance, step: random.pick(['observed', 'planned', 'decided', 'rendered', 'push', 'pushed', 'committed']) })],
    [3, () => ({ at, kind: 'database-clock', ms: random.pick([-4_000, -500, 500, 4_000, 20_000, 120_000]) })],
    [3, () => ({ at, until: Math.min(until, at + 90_000), kind: 'database-down' })],
    [3, () => ({ at, until: Math.min(until, at + 30_000), kind: 'database-stall' })],
    [3, () => ({ at, until, kind: 'git-down' })],
    [3, () => ({ at, until, kind: 'api-down' })],
    [2, () => ({ at, until, kind: 'gitops-down' })],
    [5, () => ({ at, until, kind: 'node-crash', node })],
    [3, () => ({ at, until, kind: 'node-not-ready', node })],
    [3, () => ({ at, until, kind: 'kubelet-down', node })],
    [3, () => ({ at, until, kind: 'agent-pause', processor })],
    [2, () => ({ at, until, kind: 'agent-mute', processor })],
    [2, () => ({ at, until, kind: 'image-missing', processor })],
    [3, () => ({ at, kind: 'agent-crash', processor })],
    [3, () => ({ at, kind: 'release', processor })],
    [3, () => ({ at, kind: 'rehome', processor, home: random.pick([...cast.nodes.map(({ name }) => name), 'managed']) })],
    [1, () => ({ at, kind: 'decommission', node })],
  ]);
}

/** About as long as it takes a node to be lost, or a lease to be over, and a little more or less. */
function nearThreshold(random: Random, { heartbeatStale, lease, fenceMargin }: Policy): number {
  return random.pick([heartbeatStale, heartbeatStale + 10_000, lease + fenceMargin + 20_000]) + random.between(-4_000, 12_000);
}

function conspiracy(random: Random, cast: Cast, policy: Policy): readonly Fault[] {
  const at = random.between(20_000, trouble - 150_000);
  const node = random.pick(cast.nodes).name;
  const until = at + nearThreshold(random, policy);
  const gone: Fault = { at, until, kind: 'cut', links: [`${node}-dory`, `${node}-api`] };
  const others = cast.nodes.filter(({ name }) => name !== node).map(({ name }) => name);
  const guests = cast.processors.filter(({ home }) => home === node).map(({ name }) => name);
  const guest = random.pick(guests.length > 0 ? guests : cast.processors.map(({ name }) => name));
  const during = random.between(at, until);
  return choose<readonly Fault[]>(random, [
    // A node comes back while its loss is being decided, on a slow database or by a process that stands still.
    [4, () => [gone, { at: until - random.between(500, 6_000), until: until + random.between(500, 4_000), kind: 'database-stall' }]],
    [3, () => [gone, ...cast.instances.map((instance): Fault => ({ at: until - random.between(200, 3_000), until: until + random.between(200, 3_000), kind: 'instance-pause', instance, frozen: random.chance(0.3) }))]],
    // It comes back for Dory before it does for its kubelet's API server, or the other way round.
    [3, () => [{ ...gone, links: [`${node}-dory`] }, { ...gone, until: until + span(random), links: [`${node}-api`] }]],
    [2, () => [{ ...gone, links: [`${node}-api`] }, { ...gone, until: until + span(random), links: [`${node}-dory`] }]],
    // Its kubelet is cut off first: its agents are told to stop, and then can't be told any more.
    [3, () => [{ ...gone, until: until + span(random), links: [`${node}-api`] }, { ...gone, at: during, until: during + span(random), links: [`${node}-dory`] }]],
    // A link that comes and goes.
    [3, () => Array.from({ length: 4 }, (_, i): Fault => ({ at: at + i * 45_000, until: at + i * 45_000 + random.between(20_000, 44_000), kind: 'cut', links: [`${node}-dory`] }))],
    // Whoever leads dies, or stands still, in the middle of it.
    [3, () => [gone, ...cast.instances.map((instance): Fault => ({ at: during, kind: 'crash-at-step', instance, step: random.pick(['decided', 'rendered', 'push', 'pushed']) }))]],
    [2, () => [gone, { at: during, until: during + span(random), kind: 'instance-pause', instance: random.pick(cast.instances), frozen: true }]],
    // We are away while it is.
    [3, () => [gone, { at: during, until: during + span(random), kind: 'database-down' }]],
    [2, () => [{ at, until: at + random.between(20_000, 90_000), kind: 'database-down' }]],
    [2, () => [gone, { at: during, until: during + span(random), kind: 'git-down' }, { at, kind: 'rehome', processor: guest, home: random.pick(others) }]],
    // Two at once, one after the other, and nearly all.
    [2, () => [gone, { ...gone, at: during, until: during + span(random), links: [`${others[0] ?? node}-dory`, `${others[0] ?? node}-api`] }]],
    [2, () => [{ ...gone, links: cast.nodes.map(({ name }) => `${name}-dory`) }]],
    [1, () => [{ ...gone, until: until + 40_000, links: cast.nodes.flatMap(({ name }) => [`${name}-dory`, `${name}-api`]) }]],
    // People are at work meanwhile.
    [3, () => [{ at: at - 1_000, until: until + random.between(0, 60_000), kind: 'pause' }, gone]],
    [3, () => [{ at: at - 1_000, until: until + random.between(0, 60_000), kind: 'lock', node }, { ...gone, until: until + 60_000 }]],
    [2, () => [{ at: during, kind: 'remove', processor: guest }, { at: during + span(random), kind: 'add', processor: guest }, ...(random.chance(0.5) ? [gone] : [])]],
    [2, () => [gone, { at: during, kind: 'decommission', node }]],
    // A node that is not there yet.
    [2, () => [{ at: 0, until: random.between(60_000, 400_000), kind: 'node-absent', node }]],
  ]);
}
