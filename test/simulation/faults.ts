import { instant } from '../../src/model/time.ts';
import type { Process } from './process.ts';
import { handBack, handOver } from './cutover.ts';
import { sayPowerOff } from './power-off.ts';
import type { Edit, Fault } from './script.ts';
import type { World } from './world.ts';

/** Lets each fault begin and end when the script says so. */
export function scheduleFaults(world: World): void {
  for (const fault of world.script.faults) {
    world.kernel.at(fault.at, () => begin(world, fault));
  }
}

function begin(world: World, fault: Fault): void {
  world.checks.tell(`~ ${JSON.stringify(fault)}`);
  const subjects = ailing(world, fault);
  for (const subject of subjects) world.truth.begin(subject, world.kernel.now);
  const end = happen(world, fault);
  const until = 'until' in fault ? fault.until : fault.at;
  world.kernel.at(until, () => {
    end();
    for (const subject of subjects) world.truth.end(subject, until);
    if ('until' in fault) world.checks.tell(`~ over: ${fault.kind}`);
  });
}

/** Who is not well, in truth, while it lasts. */
function ailing({ script }: World, fault: Fault): readonly string[] {
  const everyNode = script.nodes.map(({ name }) => name);
  switch (fault.kind) {
    case 'cut': return fault.links.flatMap((link) => cutOff(fault.links, link));
    case 'node-absent': case 'node-crash': return [fault.node, `dead:${fault.node}`];
    case 'node-not-ready': case 'kubelet-down': case 'lock': return [fault.node];
    case 'loss': case 'api-down': case 'agent-pause': case 'agent-mute': case 'image-missing': case 'agent-crash': case 'pause': return everyNode;
    case 'power-off-said': return [];
    case 'git-down': return [...everyNode, 'git'];
    case 'gitops-down': case 'release': case 'rehome': case 'rename': case 'take-over': case 'hand-back': case 'remove': case 'add': case 'decommission': return everyNode;
    case 'instance-crash': case 'instance-stop': case 'instance-pause': case 'crash-at-step': case 'database-clock': case 'database-down': case 'database-stall': return ['service'];
  }
}

function cutOff(links: readonly string[], link: string): readonly string[] {
  const [name = '', end] = link.split('-');
  if (!link.startsWith('n')) return end === 'db' ? ['service'] : [link];
  return end === 'dory' && links.includes(`${name}-api`) ? [name, `dead:${name}`] : [name];
}

/** @returns what ends it. */
function happen(world: World, fault: Fault): () => void {
  const { network, database, cluster, remote, instances, machines, imagesMissing } = world;
  switch (fault.kind) {
    case 'cut':
      for (const link of fault.links) network.cut(link);
      return () => { for (const link of fault.links) network.mend(link); };
    case 'loss':
      network.loss = fault.share;
      return () => { network.loss = 0; };
    case 'instance-crash': case 'instance-stop': {
      const instance = instances.get(fault.instance);
      if (fault.kind === 'instance-crash') instance?.crash();
      else instance?.stop();
      return () => { instance?.start(); };
    }
    case 'instance-pause':
      instances.get(fault.instance)?.pause(fault.frozen);
      return () => { instances.get(fault.instance)?.resume(); };
    case 'crash-at-step':
      instances.get(fault.instance)?.crashAt(fault.step);
      return nothing;
    case 'database-clock':
      database.ahead += fault.ms;
      return nothing;
    case 'database-down': return nested(world, 'database', () => database.stop(), () => database.start());
    case 'database-stall':
      database.stalledUntil = Math.max(database.stalledUntil, fault.until);
      return nothing;
    case 'api-down': return nested(world, 'api', () => { cluster.up = false; }, () => cluster.restart());
    case 'git-down': return nested(world, 'git', () => { remote.up = false; }, () => { remote.up = true; });
    case 'gitops-down': return nested(world, 'gitops', () => { cluster.gitopsUp = false; }, () => { cluster.gitopsUp = true; });
    case 'node-absent':
      // It was never seen in good health either.
      cluster.nodes.get(fault.node)!.ready = 'unknown';
      return power(world, fault.node);
    case 'node-crash': return power(world, fault.node);
    case 'kubelet-down': {
      const machine = machines.get(fault.node)!;
      return nested(world, `kubelet/${fault.node}`, () => { machine.kubelet = false; }, () => { machine.kubelet = true; machine.sync(); });
    }
    case 'node-not-ready': {
      const node = cluster.nodes.get(fault.node)!;
      return nested(world, `ready/${fault.node}`, () => { node.says = 'false'; }, () => { node.says = 'true'; });
    }
    case 'agent-pause': return each(world, fault.processor, (process) => process.pause(), (process) => process.resume());
    case 'agent-mute': return each(world, fault.processor, (process) => { process.mute = true; }, (process) => { process.mute = false; });
    case 'power-off-said':
      sayPowerOff(world, fault.node, fault.afterMs);
      return nothing;
    case 'agent-crash': return each(world, fault.processor, (process) => process.crash(), nothing);
    case 'image-missing': return nested(world, `image/${fault.processor}`, () => { imagesMissing.add(fault.processor); }, () => { imagesMissing.delete(fault.processor); });
    case 'release': case 'remove': case 'add': case 'rehome': case 'rename': case 'take-over': case 'hand-back': case 'decommission': case 'lock': case 'pause':
      return write(world, fault);
  }
}

function power(world: World, node: string): () => void {
  const machine = world.machines.get(node)!;
  return nested(world, `power/${node}`, () => machine.powerOff(), () => machine.powerOn());
}

/** Of faults of one kind that overlap, the first one begins it, and the last one ends it. */
function nested({ ongoing }: World, key: string, on: () => void, off: () => void): () => void {
  const count = ongoing.get(key) ?? 0;
  ongoing.set(key, count + 1);
  if (count === 0) on();
  return () => {
    const left = (ongoing.get(key) ?? 1) - 1;
    ongoing.set(key, left);
    if (left === 0) off();
  };
}

function nothing(): void {
  // It has no end of its own.
}

function each(world: World, processor: string, act: (process: Process) => void, undo: (process: Process) => void): () => void {
  const hit = [...world.machines.values()].flatMap(({ processes }) => [...processes.values()]).filter((process) => process.processor === processor);
  for (const process of hit) act(process);
  return () => { for (const process of hit) if (process.alive) undo(process); };
}

/** People can write only while the database is up; they try again. */
function person(world: World, act: () => void): void {
  if (!world.database.up) { world.kernel.after(5_000, () => person(world, act)); return; }
  act();
  world.wakeAll();
}

/** Who could not begin before it was over does not begin any more. */
function write(world: World, fault: Edit): () => void {
  let over = false;
  person(world, () => { if (!over) edit(world, fault); });
  const end = endOf(world, fault);
  return () => {
    over = 'until' in fault;
    end();
  };
}

function edit(world: World, fault: Edit): void {
  const { rows } = world.database;
  switch (fault.kind) {
    case 'release': { const row = rows.desired.get(fault.processor); if (row !== undefined) row.release += 1; break; }
    case 'rehome': { const row = rows.desired.get(fault.processor); if (row !== undefined) row.home = fault.home; break; }
    case 'remove': rows.desired.delete(fault.processor); break;
    case 'add': {
      const home = world.script.processors.find(({ name }) => name === fault.processor)?.home ?? 'managed';
      const slug = rows.slugs.get(fault.processor);
      if (!rows.desired.has(fault.processor)) rows.desired.set(fault.processor, { home, release: 1, ...(slug === undefined ? {} : { slug }) });
      break;
    }
    case 'rename': {
      const slug = `${fault.processor}-${String(rows.edits)}`;
      rows.slugs.set(fault.processor, slug);
      const row = rows.desired.get(fault.processor);
      if (row !== undefined) row.slug = slug;
      break;
    }
    case 'take-over': handOver(world, fault.processor, 'ours'); break;
    case 'hand-back': handBack(world, fault.processor); break;
    case 'decommission': rows.decommissioned.add(fault.node); break;
    case 'lock': {
      const until = instant(world.database.clock + fault.until - fault.at);
      rows.locks.push({ id: rows.locks.length + 1, scope: 'node', subject: fault.node, owner: 'ada', reason: 'new disk', until, endedAt: null });
      break;
    }
    case 'pause': rows.pause = { paused: { by: 'ada', reason: 'upgrade', since: world.database.clock }, resumedAt: null }; break;
  }
  rows.edits += 1;
}

function endOf(world: World, fault: Edit): () => void {
  const { rows } = world.database;
  if (fault.kind === 'pause') return () => person(world, () => { rows.pause = { paused: null, resumedAt: world.database.clock }; });
  if (fault.kind !== 'lock') return nothing;
  return () => person(world, () => {
    const at = rows.locks.findIndex(({ subject, endedAt }) => subject === fault.node && endedAt === null);
    const lock = rows.locks[at];
    if (lock !== undefined) rows.locks[at] = { ...lock, endedAt: world.database.clock };
  });
}

