import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Change, Hold } from '../../src/model/plan.ts';
import { targetName } from '../../src/model/placement.ts';
import type { BudgetPolicy, GuardPolicy, GuardState, MaintenanceLock, PolicyOverride } from '../../src/model/snapshot.ts';
import { plan } from '../../src/plan/plan.ts';
import { testPolicy } from '../support/policy.ts';
import { span, World, type NodeDefinition, type ProcessorDefinition } from '../support/world.ts';

/**
 * A folder a scenario; its name is the sentence that it proves. `README.md` beside this file says what may stand in
 * `scenario.yaml`. Every step must expect something, and whatever it doesn't mention must not happen.
 */
interface Scenario {
  given: { nodes: Record<string, NodeDefinition | null>; processors: Record<string, ProcessorDefinition>; switchedOff?: string[]; cluster?: true; policy?: Record<string, string> } & Given;
  steps: Step[];
}

/** What people set beside the thresholds. */
interface Given {
  guard?: Partial<GuardPolicy>;
  budget?: Partial<BudgetPolicy>;
  policies?: Record<string, PolicyOverride['policy']>;
}

interface Step {
  why?: string;
  wait?: string;
  silent?: string[];
  beating?: string[];
  neverBeaten?: string[];
  decommission?: string[];
  edit?: Record<string, Partial<ProcessorDefinition>>;
  release?: string[];
  break?: string[];
  mend?: string[];
  remove?: string[];
  add?: Record<string, ProcessorDefinition>;
  intake?: 'down' | 'up';
  remote?: 'down' | 'up';
  agents?: Record<string, 'silent' | 'unheard' | 'stopped' | 'beating'>;
  confirm?: string[];
  cluster?: 'up' | 'down';
  ready?: Partial<Record<'true' | 'false' | 'unknown', string[]>>;
  taint?: Record<string, string>;
  pods?: Record<string, 'present' | 'gone'>;
  ack?: string[];
  policies?: Record<string, PolicyOverride['policy']>;
  approve?: string[];
  pause?: string;
  resume?: true;
  lock?: Record<string, string>;
  unlock?: string[];
  expect: { changes?: string[]; holds?: string[]; refusals?: string[]; verdicts?: Record<string, string>; guard?: GuardState; nothing?: true };
}

const folder = import.meta.dirname;
const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name);

describe.each(names)('%s', (name) => {
  it('holds', () => {
    const { given, steps } = parse(readFileSync(path.join(folder, name, 'scenario.yaml'), 'utf8')) as Scenario;
    const world = build(given);
    expect(steps.length).toBeGreaterThan(0);
    let withheld: readonly Hold[] = [];
    for (const [index, step] of steps.entries()) {
      say(world, step, withheld);
      act(world, step);
      const result = plan(world.snapshot());
      const seen = {
        changes: result.changes.map(tellChange),
        holds: result.holds.map(tellHold),
        refusals: result.refusals.map(({ subject }) => subject),
      };
      const { changes = [], holds = [], refusals = [], verdicts = {} } = step.expect;
      expect(seen, `step ${String(index + 1)}: ${step.why ?? ''}`).toEqual({ changes, holds, refusals });
      const judged = Object.fromEntries(result.verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
      expect(judged, `step ${String(index + 1)}`).toMatchObject(verdicts);
      if (step.expect.guard !== undefined) expect(result.guard.state, `step ${String(index + 1)}: the fleet guard`).toBe(step.expect.guard);
      withheld = result.holds;
      world.apply(result);
      const again = plan(world.snapshot());
      expect(again.changes, `step ${String(index + 1)}: the same facts again change nothing`).toEqual([]);
    }
  });
});

function build({ nodes, processors, switchedOff = [], policy = {}, guard = {}, budget = {}, policies = {}, cluster }: Scenario['given']): World {
  const spans = Object.fromEntries(Object.entries(policy).map(([key, text]) => [key, span(text)]));
  const world = new World({ ...testPolicy, ...spans, guard: { ...testPolicy.guard, ...guard }, budget: { ...testPolicy.budget, ...budget } });
  for (const [match, own] of Object.entries(policies)) world.policies.set(match, own);
  for (const [name, definition] of Object.entries(nodes)) world.addNode(name, definition ?? {});
  for (const [name, definition] of Object.entries(processors)) world.addProcessor(name, definition);
  for (const key of switchedOff) world.switchesOff.add(key);
  if (cluster === true) world.cluster = 'up';
  return world;
}

function act(world: World, step: Step): void {
  for (const name of step.neverBeaten ?? []) world.node(name).beating = false;
  for (const name of step.silent ?? []) world.node(name).beating = false;
  for (const name of step.beating ?? []) world.node(name).beating = true;
  for (const name of step.decommission ?? []) world.node(name).decommissioned = true;
  for (const [name, definition] of Object.entries(step.add ?? {})) world.addProcessor(name, definition);
  for (const [name, change] of Object.entries(step.edit ?? {})) Object.assign(processor(world, name), change);
  for (const name of step.release ?? []) processor(world, name).release += 1;
  for (const name of step.break ?? []) processor(world, name).broken = true;
  for (const name of step.mend ?? []) processor(world, name).broken = false;
  for (const name of step.remove ?? []) world.processors.delete(name);
  if (step.intake === 'down') world.coveredSince = null;
  if (step.remote !== undefined) world.remote(step.remote === 'up');
  for (const [name, behaviour] of Object.entries(step.agents ?? {})) {
    const agent = world.agent(name);
    agent.beating = behaviour === 'beating';
    if (behaviour === 'unheard') agent.lastBeatAt = null;
    if (behaviour === 'stopped') agent.acknowledgedAt = world.now;
  }
  for (const name of step.confirm ?? []) world.agent(name).confirmed = { at: world.now, by: 'ada' };
  if (step.cluster !== undefined) world.cluster = step.cluster;
  for (const [ready, nodes] of Object.entries(step.ready ?? {})) for (const name of nodes) world.ready(name, ready as 'true' | 'false' | 'unknown');
  for (const [name, taint] of Object.entries(step.taint ?? {})) world.node(name).condition.taints = [taint];
  for (const [name, pods] of Object.entries(step.pods ?? {})) world.agent(name).pods = pods;
  world.advance(step.wait === undefined ? 0 : span(step.wait));
  if (step.intake === 'up') {
    world.coveredSince = world.now;
    world.beat();
  }
}

/** What people say; an approval of the guard or the budget lists what was withheld when it was given. */
function say(world: World, { approve = [], ack = [], policies = {}, pause, resume, lock = {}, unlock = [] }: Step, holds: readonly Hold[]): void {
  const listed: Record<string, readonly string[]> = { guard: ['guard-frozen', 'guard-rate'], budget: ['budget-spent', 'budget-exceeded'] };
  for (const subject of approve) {
    const reasons = listed[subject];
    world.approve(subject, reasons === undefined ? null : holds.filter(({ reason }) => reasons.includes(reason)).map(({ processorId }) => processorId));
  }
  for (const [match, own] of Object.entries(policies)) world.policies.set(match, own);
  for (const name of ack) {
    const { recorded } = world.node(name);
    if (recorded !== null) world.node(name).recorded = { ...recorded, flaps: 0 };
  }
  if (pause !== undefined) world.pause = { paused: { by: 'ann', reason: pause, since: world.now }, resumedAt: null };
  if (resume === true) world.pause = { paused: null, resumedAt: world.now };
  for (const [key, time] of Object.entries(lock)) {
    const [scope = '', name = ''] = key.split('/');
    world.lock(scope as MaintenanceLock['scope'], name, span(time));
  }
  for (const key of unlock) world.unlock(key.split('/')[1] ?? '');
}

function processor(world: World, name: string): ProcessorDefinition & { release: number; broken: boolean } {
  const found = world.processors.get(name);
  if (found === undefined) throw new Error(`no processor ${name} in this world`);
  return found;
}

/** `cam-1 move edge-1 → managed (epoch 2) heartbeat-stale; not edge-2: never-reported` */
function tellChange({ kind, processorId, before, after, reason, rejected, evidence }: Change): string {
  const from = before === null ? null : targetName(before.target);
  const to = after === null ? null : targetName(after.target);
  const places = from !== null && to !== null && from !== to ? `${from} → ${to}` : (to ?? from ?? '');
  const fence = typeof evidence['fence'] === 'string' ? ` after ${evidence['fence']}` : '';
  const why = rejected.map((r) => `; not ${targetName(r.target)}: ${r.reason}`).join('');
  return `${processorId} ${kind} ${places} (epoch ${String(after?.epoch ?? before?.epoch)}) ${reason}${fence}${why}`;
}

function tellHold({ processorId, reason, needsPerson, rejected }: Hold): string {
  const why = rejected.map((r) => `; not ${targetName(r.target)}: ${r.reason}`).join('');
  return `${processorId} ${reason}${needsPerson ? ' (needs a person)' : ''}${why}`;
}
