import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Action } from '../../src/apply/actions.ts';
import { compare, pruneActions, removedProcessors, type Finding, type Inventory, type PruneRules, type Synced } from '../../src/apply/compare.ts';
import { createExecutor } from '../../src/apply/execute.ts';
import { readLive } from '../../src/apply/live.ts';
import { keyOf, type DesiredEntry, type DesiredTree, type LiveObject, type ObjectRef } from '../../src/apply/objects.ts';
import type { Digest, Epoch, ProcessorId, RevisionId } from '../../src/model/ids.ts';
import { millis } from '../../src/model/time.ts';
import type { KubeRequest, KubeWriter } from '../../src/platform/kube/write.ts';
import { applied, type Applied } from '../support/applied-fields.ts';
import { fixedRandom, hurryingClock } from '../support/clock.ts';

const set = (n: number, epoch: number): ObjectRef => ({ apiVersion: 'apps/v1', kind: 'StatefulSet', namespace: 'default', name: `cam-${String(n)}-e${String(epoch)}` });
const account = (n: number): ObjectRef => ({ apiVersion: 'v1', kind: 'ServiceAccount', namespace: 'default', name: `account-${String(n)}` });
const idOf = (n: number): ProcessorId => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as ProcessorId;
const digest = fc.constantFrom('d1', 'd2') as fc.Arbitrary<Digest>;

/** Few processors and few epochs, so that they meet. A namesake of a processor's object without a processor is an account. */
const place = fc.record({ n: fc.nat(3), epoch: fc.integer({ min: 1, max: 3 }), ofProcessor: fc.boolean() });
const identity = ({ n, epoch, ofProcessor }: { readonly n: number; readonly epoch: number; readonly ofProcessor: boolean }) =>
  (ofProcessor ? { ref: set(n, epoch), processorId: idOf(n), epoch: epoch as Epoch } : { ref: account(n), processorId: null, epoch: null });

const live: fc.Arbitrary<LiveObject> = fc.record({
  at: place, uid: fc.uuid(), resourceVersion: fc.integer({ min: 1, max: 9 }), owned: fc.option(digest), revision: fc.option(fc.integer({ min: 1, max: 4 })),
  managers: fc.subarray(['kubectl', 'kubectl-client-side-apply', 'argocd-controller', 'helm']), trackedBy: fc.constantFrom(null, null, null, 'fleet'), terminating: fc.constantFrom(false, false, false, true),
}).map(({ at, resourceVersion, revision, ...rest }) => ({ ...identity(at), ...rest, resourceVersion: String(resourceVersion), revision: revision as RevisionId | null }));

const entry: fc.Arbitrary<DesiredEntry> = fc.record({ at: place, digest, revision: fc.option(fc.integer({ min: 1, max: 4 })) })
  .map(({ at, revision, ...rest }) => ({ ...identity(at), ...rest, revision: revision as RevisionId | null, path: 'clusters/test/a.yaml', blob: 'b', place: 0 }));

const synced: fc.Arbitrary<Synced> = fc.record({ desired: digest, owned: fc.option(digest), resourceVersion: fc.integer({ min: 1, max: 9 }), at: fc.constantFrom(0, 99_000) }).map((each) => ({ ...each, at: millis(each.at) }));

interface World {
  readonly tree: DesiredTree;
  readonly inventory: Inventory;
  readonly synced: ReadonlyMap<string, Synced>;
}

/** One entry a processor, as commits have them. */
const world: fc.Arbitrary<World> = fc.record({
  entries: fc.uniqueArray(entry, { selector: ({ ref, processorId }) => processorId ?? keyOf(ref), maxLength: 6 }),
  lives: fc.uniqueArray(live, { selector: ({ ref }) => keyOf(ref), maxLength: 12 }),
  remembered: fc.array(synced, { minLength: 12, maxLength: 12 }),
  revision: fc.integer({ min: 1, max: 4 }),
  knows: fc.record({ StatefulSet: fc.constantFrom('all', 'not-all', 'absent'), ServiceAccount: fc.constantFrom('all', 'not-all', 'absent') } as const),
}).map(({ entries, lives, remembered, revision, knows }) => {
  const objects = new Map(lives.map((each) => [keyOf(each.ref), each]));
  const tree = { commit: 'c', revision: revision as RevisionId, objects: new Map(entries.map((each) => [keyOf(each.ref), each])) };
  return {
    tree,
    inventory: {
      objects,
      knows: ({ kind }) => knows[kind as keyof typeof knows],
      highestEpoch: (id) => Math.max(0, ...lives.filter(({ processorId }) => processorId === id).map(({ epoch }) => epoch ?? 0)),
    },
    synced: new Map([...tree.objects.keys(), ...objects.keys()].flatMap((key, n) => (n % 3 === 2 ? [] : [[key, remembered[n % remembered.length]!] as const]))),
  };
});

const rules = fc.record({ drift: fc.constantFrom('correct', 'report'), adopt: fc.boolean() } as const);
const now = millis(100_000);
const findings = ({ tree, inventory, synced: known }: World, how: { readonly drift: 'correct' | 'report'; readonly adopt: boolean }): readonly (readonly [DesiredEntry, Finding])[] => {
  const found = compare(tree, { inventory, synced: known, rules: how, now });
  return [...tree.objects.values()].map((each, n) => [each, found[n]!]);
};

describe('a comparison of the committed tree with the cluster', () => {
  test('says one thing of each object, and the same each time', () => {
    fc.assert(fc.property(world, rules, (given, how) => {
      expect(findings(given, how)).toHaveLength(given.tree.objects.size);
      expect(findings(given, how)).toEqual(findings(given, how));
    }));
  });

  test('asks for nothing where our fields are as they were left for this very document', () => {
    fc.assert(fc.property(world, rules, ({ tree, inventory }, how) => {
      const left = new Map([...tree.objects].map(([key, each]) => [key, { desired: each.digest, owned: inventory.objects.get(key)?.owned ?? null, resourceVersion: 1, at: now }]));
      for (const [each, finding] of findings({ tree, inventory, synced: left }, how)) {
        const there = inventory.objects.get(keyOf(each.ref));
        const isLeftAlone = there === undefined ? inventory.knows(each.ref) === 'not-all' : there.terminating || there.trackedBy !== null || there.owned === null;
        if (!isLeftAlone && inventory.highestEpoch(each.processorId ?? idOf(99)) <= (each.epoch ?? 0)) expect(finding.kind).toBe('in-sync');
      }
    }));
  });

  test('never applies a placement of which the cluster shows a later one, nor anything on partial knowledge, nor what is on its way out', () => {
    fc.assert(fc.property(world, rules, (given, how) => {
      for (const [each, finding] of findings(given, how)) {
        if (finding.kind !== 'apply') continue;
        if (each.processorId !== null) expect(given.inventory.highestEpoch(each.processorId)).toBeLessThanOrEqual(each.epoch ?? 0);
        if (finding.live === null) expect(given.inventory.knows(each.ref)).not.toBe('not-all');
        expect(finding.live?.terminating ?? false).toBe(false);
      }
    }));
  });

  test('never sends what a newer revision left otherwise, and sends it again with a revision as new', () => {
    let held = 0;
    fc.assert(fc.property(world, rules, (given, how) => {
      const [behind, caughtUp] = [findings(given, how), findings({ ...given, tree: { ...given.tree, revision: 9 as RevisionId } }, how)];
      for (const [n, [each, finding]] of behind.entries()) {
        const there = given.inventory.objects.get(keyOf(each.ref))?.revision ?? 0;
        const isNewer = each.revision !== null && there > Math.max(given.tree.revision, each.revision);
        if (finding.kind === 'apply' || finding.kind === 'verify') expect(isNewer).toBe(false);
        if (finding.kind !== 'skip' || finding.reason !== 'newer-revision') continue;
        held += 1;
        expect(isNewer).toBe(true);
        expect(['apply', 'verify']).toContain(caughtUp[n]?.[1].kind);
      }
    }), { numRuns: 1_000 });
    expect(held).toBeGreaterThan(20);
  });

  test('never touches what Argo CD tracks or others applied, unless told to', () => {
    fc.assert(fc.property(world, fc.constantFrom('correct', 'report'), (given, drift) => {
      for (const [, finding] of findings(given, { drift, adopt: false })) {
        if (finding.kind !== 'apply' || finding.live === null) continue;
        expect(finding.live.trackedBy).toBeNull();
        if (finding.live.owned === null && !given.synced.has(keyOf(finding.entry.ref))) expect(finding.live.managers.filter((manager) => !manager.startsWith('kubectl'))).toEqual([]);
      }
    }));
  });

  test('never takes a field from anybody where drift is only reported, but from who applied before', () => {
    fc.assert(fc.property(world, (given) => {
      for (const [, finding] of findings(given, { drift: 'report', adopt: false })) {
        if (finding.kind === 'apply' && finding.force) expect(finding.why).toBe('adopted');
      }
    }));
  });
});

/** An object that we applied all of, as the server shows it, with what others have in it. */
const applyEntry = ({ fields }: Applied): object => ({ manager: 'dory-orchestrator', operation: 'Apply', apiVersion: 'apps/v1', time: '2026-01-01T00:00:00Z', fieldsType: 'FieldsV1', fieldsV1: { 'f:spec': fields } });
const shown = (given: Applied, spec: unknown, more: object = {}): LiveObject => {
  const object = { metadata: { name: 'cam-1-e1', namespace: 'default', uid: 'u', resourceVersion: '2', managedFields: [applyEntry(given)], ...more }, spec };
  return readLive(object, { apiVersion: 'apps/v1', kind: 'StatefulSet' });
};

/** Each place of a value that can be changed, with the value in which it is. */
function changes(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value.length === 0 ? [['new']] : value.flatMap((item, n) => changes(item).map((changed) => value.map((each: unknown, m) => (m === n ? changed : each))));
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value);
    return members.flatMap(([name, member]) => [...changes(member).map((changed) => ({ ...value, [name]: changed })), Object.fromEntries(members.filter(([other]) => other !== name))]);
  }
  return [`${String(value)}!`];
}

describe('drift', () => {
  const kindOf = (object: LiveObject, before: LiveObject): Finding['kind'] | `skip ${string}` | `apply ${string}` => {
    const desired: DesiredEntry = { ref: before.ref, path: 'a.yaml', blob: 'b', place: 0, digest: 'd1' as Digest, processorId: null, epoch: null, revision: null };
    const tree = { commit: 'c', revision: 1 as RevisionId, objects: new Map([[keyOf(before.ref), desired]]) };
    const left: Synced = { desired: desired.digest, owned: before.owned, resourceVersion: 1, at: now };
    const inventory: Inventory = { objects: new Map([[keyOf(object.ref), object]]), knows: () => 'all', highestEpoch: () => 0 };
    const [finding] = compare(tree, { inventory, synced: new Map([[keyOf(before.ref), left]]), rules: { drift: 'correct', adopt: false }, now });
    return finding?.kind === 'apply' ? `apply ${finding.why}` : finding?.kind === 'skip' ? `skip ${finding.reason}` : 'in-sync';
  };

  test('is any change of a field of ours, and its removal', () => {
    fc.assert(fc.property(applied, fc.nat(), (given, n) => {
      const all = changes(given.value);
      const changed = all[n % all.length];
      expect(kindOf(shown(given, changed), shown(given, given.value))).toBe('apply drifted');
    }), { numRuns: 300 });
  });

  test('is no change of a field of somebody else, nor of labels, status and managers', () => {
    fc.assert(fc.property(applied, fc.dictionary(fc.constantFrom('theirs-1', 'theirs-2'), fc.integer(), { minKeys: 1 }), fc.string(), (given, more, manager) => {
      const others = { labels: { theirs: 'x' }, annotations: { 'deployment.kubernetes.io/revision': '4' }, managedFields: [applyEntry(given), { manager, operation: 'Update', fieldsType: 'FieldsV1', fieldsV1: { 'f:spec': { 'f:theirs-1': {} } } }] };
      expect(kindOf(shown(given, { ...(given.value as object), ...more }, others), shown(given, given.value))).toBe('in-sync');
    }));
  });

  test('of fields that became somebody else\'s is drift, whatever they hold', () => {
    fc.assert(fc.property(applied, (given) => {
      const [lost, ...others] = Object.keys(given.fields);
      // Without any element all of it is ours, as the server writes it.
      fc.pre(others.length > 0);
      const rest = Object.fromEntries(Object.entries(given.fields).filter(([name]) => name !== lost));
      expect(kindOf(shown({ ...given, fields: rest }, given.value), shown(given, given.value))).toBe('apply drifted');
    }));
  });
});

const pruneRules: fc.Arbitrary<PruneRules> = fc.record({
  budget: fc.integer({ min: -2, max: 4 }), adopt: fc.boolean(), allowEmpty: fc.boolean(),
  known: fc.subarray([0, 1, 2, 3]).map((ids) => new Set<string>(ids.map(idOf))),
  spent: fc.subarray([0, 1, 2, 3].flatMap((n) => [keyOf(set(n, 1)), keyOf(account(n))])).map((keys) => new Set(keys)),
});
const pruned = (actions: readonly Action[]): readonly LiveObject[] => actions.flatMap((action) => (action.kind === 'prune' ? [action.live] : []));

describe('what the commit has no more', () => {
  test('is deleted only where we applied it, all of its kind is known, and nothing newer put it there', () => {
    fc.assert(fc.property(world, pruneRules, ({ tree, inventory }, how) => {
      for (const each of pruned(pruneActions(tree, inventory, how))) {
        expect(tree.objects.has(keyOf(each.ref))).toBe(false);
        expect(inventory.objects.get(keyOf(each.ref))).toBe(each);
        expect(each.owned !== null || (how.adopt && each.trackedBy !== null)).toBe(true);
        expect(how.adopt || each.trackedBy === null).toBe(true);
        expect(inventory.knows(each.ref)).toBe('all');
        expect(each.terminating).toBe(false);
        expect(each.revision ?? 0).toBeLessThanOrEqual(tree.revision);
        const wanted = [...tree.objects.values()].find(({ processorId }) => processorId !== null && processorId === each.processorId);
        if (wanted !== undefined) expect(each.epoch ?? 0).toBeLessThanOrEqual(wanted.epoch ?? 0);
        else if (each.processorId !== null) expect(how.known.has(each.processorId)).toBe(true);
      }
    }), { numRuns: 1_000 });
  });

  test('is deleted within the budget, in which what a later epoch replaces is not, and what was begun is already', () => {
    let losses = 0;
    fc.assert(fc.property(world, pruneRules, ({ tree, inventory }, how) => {
      const wanted = new Set([...tree.objects.values()].map(({ processorId }) => processorId));
      const lost = pruned(pruneActions(tree, inventory, how)).filter(({ ref, processorId }) => !how.spent.has(keyOf(ref)) && (processorId === null || !wanted.has(processorId)));
      losses += lost.length;
      expect(lost.length).toBeLessThanOrEqual(Math.max(0, how.budget));
    }), { numRuns: 1_000 });
    expect(losses).toBeGreaterThan(20);
  });

  test('is never everything: no commit without objects, and none without processors, empties the cluster of them', () => {
    fc.assert(fc.property(world, pruneRules, ({ tree, inventory }, how) => {
      const without = { ...tree, objects: new Map([...tree.objects].filter(([, { processorId }]) => processorId === null)) };
      expect(pruned(pruneActions(without, inventory, { ...how, allowEmpty: false })).filter(({ processorId }) => processorId !== null)).toEqual([]);
      expect(pruned(pruneActions({ ...tree, objects: new Map() }, inventory, { ...how, allowEmpty: false }))).toEqual([]);
    }));
  });

  test('ends in an action or a reason, each of them once; and all processors without an entry are asked for', () => {
    fc.assert(fc.property(world, pruneRules, ({ tree, inventory }, how) => {
      const actions = pruneActions(tree, inventory, how);
      const keys = actions.map((action) => keyOf(action.kind === 'prune' ? action.live.ref : action.kind === 'skip' ? action.ref : action.desired.ref));
      expect(new Set(keys).size).toBe(keys.length);
      const asked = new Set(removedProcessors(tree, inventory));
      for (const { processorId } of pruned(actions)) {
        const isWanted = [...tree.objects.values()].some((each) => each.processorId === processorId);
        if (processorId !== null && !isWanted) expect(asked.has(processorId)).toBe(true);
      }
    }));
  });

  test('is deleted by its UID, each object once', async () => {
    await fc.assert(fc.asyncProperty(fc.uniqueArray(live, { selector: ({ ref }) => keyOf(ref), minLength: 1, maxLength: 8 }), async (objects) => {
      const sent: KubeRequest[] = [];
      const writer: KubeWriter = { send: (request) => {
        if (request.method !== 'GET') sent.push(request);
        const resources = [{ name: 'statefulsets', namespaced: true, kind: 'StatefulSet' }, { name: 'serviceaccounts', namespaced: true, kind: 'ServiceAccount' }];
        return Promise.resolve({ kind: 'answered', status: 200, retryAfter: null, body: { resources } });
      } };
      const executor = createExecutor({ writer, clock: hurryingClock(), random: fixedRandom(0.5) });
      await executor.execute(objects.map((each) => ({ kind: 'prune', live: each })), { signal: new AbortController().signal, assertLeading: () => Promise.resolve(), objection: () => null, recreate: () => null, dryRun: false });
      expect(sent.map(({ method }) => method)).toEqual(objects.map(() => 'DELETE'));
      const uids = sent.map(({ path, body }) => [path.split('/').at(-1), (JSON.parse(body?.text ?? '{}') as { preconditions?: { uid?: string } }).preconditions?.uid]);
      expect(new Map(uids as [string, string][])).toEqual(new Map(objects.map(({ ref, uid }) => [ref.name, uid])));
    }), { numRuns: 50 });
  });
});
