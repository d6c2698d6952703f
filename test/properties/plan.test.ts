import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProcessorSpec } from '../../src/model/fleet.ts';
import type { Epoch, ProcessorId } from '../../src/model/ids.ts';
import { isUnfenced, type Plan } from '../../src/model/plan.ts';
import { isHome, type Target } from '../../src/model/placement.ts';
import { failureReasons, reasonCodes, sentence } from '../../src/model/reasons.ts';
import type { AgentSignals, Snapshot, Verdict } from '../../src/model/snapshot.ts';
import { plan } from '../../src/plan/plan.ts';
import { live, worlds } from '../support/plan-worlds.ts';

const runs = { numRuns: 300 };

describe('in every world', () => {
  it('an epoch only rises, and one processor has one placement', () => {
    fc.assert(fc.property(worlds, (script) => {
      const highest = new Map<ProcessorId, Epoch>();
      live(script, (snapshot, result) => {
        expect(new Set(snapshot.placements.map((p) => p.processorId)).size).toBe(snapshot.placements.length);
        for (const { kind, reason, processorId, after } of result.changes) {
          if (after === null) continue;
          const before = highest.get(processorId) ?? 0;
          if (kind === 'move' || (kind === 'resume' && reason === 'renamed') || (kind === 'place' && before === 0)) expect(after.epoch).toBeGreaterThan(before);
          else expect(after.epoch).toBe(before);
          highest.set(processorId, after.epoch);
        }
      });
    }), runs);
  });

  it('the same facts twice change nothing the second time', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (_, result, world) => {
        world.apply(result);
        const again = plan(world.snapshot());
        // What was just written is news in two ways: what proves a stop was there before it, and a silent node is empty.
        expect(again.changes.filter(({ evidence }) => evidence['fence'] !== 'fence-lease-over' && evidence['fence'] !== 'fence-confirmed')).toEqual([]);
        expect(again.transitions.filter(({ verdict }) => verdict !== 'returning')).toEqual([]);
        world.apply(again);
        world.apply(plan(world.snapshot()));
        expect(plan(world.snapshot())).toMatchObject({ changes: [], transitions: [] });
      });
    }), runs);
  });

  it('the order of rows is not visible', () => {
    fc.assert(fc.property(worlds, fc.infiniteStream(fc.nat()), (script, random) => {
      const shuffle = <T>(items: readonly T[]): T[] => items.map((item) => [random.next().value ?? 0, item] as const).sort(([a], [b]) => a - b).map(([, item]) => item);
      live(script, (snapshot, result) => {
        const { fleet } = snapshot;
        const mixed = { ...snapshot, placements: shuffle(snapshot.placements), fleet: { ...fleet, processors: shuffle(fleet.processors), workloads: shuffle(fleet.workloads), switches: shuffle(fleet.switches) } };
        expect(plan(mixed)).toEqual(result);
      });
    }), { numRuns: 100 });
  });

  it('nothing is started that another system has, or was given back', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        const theirs = new Set(snapshot.foreign.map(({ processorId }) => processorId));
        expect(result.changes.filter(({ processorId, after }) => theirs.has(processorId) && after?.phase === 'active')).toEqual([]);
      });
    }), runs);
  });

  it('only processors of a node that failed or is being emptied leave without going home', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        const verdictOf = verdictsOf(result);
        for (const { kind, before, after, processorId, reason } of result.changes) {
          if (kind !== 'move' && kind !== 'stop') continue;
          if (kind === 'stop' && (reason === 'renamed' || reason === 'handed-back')) continue;
          const home = specOf(snapshot, processorId)?.home;
          const goesHome = home !== undefined && (kind === 'stop' ? !isHome(home, before!.target) : isHome(home, after!.target));
          const source = verdictOf(before!.target);
          expect(goesHome || source === 'decommissioned' || (source !== null && failed.has(source))).toBe(true);
        }
      });
    }), runs);
  });

  it('nothing leaves on facts that are unknown: the watch is down, or nobody can hear heartbeats', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        for (const { kind, before, evidence } of result.changes) {
          if (before?.target.kind !== 'edge' || before.phase !== 'active' || (kind !== 'move' && kind !== 'stop')) continue;
          const { kubernetes } = snapshot.nodes.find(({ nodeId }) => before.target.kind === 'edge' && nodeId === before.target.nodeId)!;
          if (kind === 'move') expect(kubernetes.known || kubernetes.because).not.toBe('watch-down');
          if (kind === 'move' && evidence['fence'] !== 'fence-confirmed') expect(snapshot.intake.covered).toBe(true);
        }
        if (!snapshot.intake.covered) for (const { verdict } of result.transitions) expect(verdict).not.toBe('lost');
      });
    }), runs);
  });

  it('nothing starts elsewhere while the old pod may still write, but unfenced off a node that is lost', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        const verdictOf = verdictsOf(result);
        for (const change of result.changes) {
          const { kind, before, evidence, processorId } = change;
          if (kind !== 'move' || before === null) continue;
          const agent = snapshot.agents.find((each) => each.processorId === processorId && each.epoch === before.epoch);
          if (before.phase === 'active') expect(verdictOf(before.target)).toBe('lost');
          // Its word or its silence is a fence, and no certain one.
          if (isUnfenced(change)) expect([agent?.leaseUntil ?? null, script.policy.unfenced]).toEqual([null, 'replace']);
          if (evidence['fence'] === undefined) {
            expect(verdictOf(before.target)).toBe('lost');
            expect(snapshot.at - (agent?.lastBeatAt ?? 0)).toBeGreaterThan(60_000);
            continue;
          }
          expect(proofs[String(evidence['fence'])]!(agent!, snapshot, grace(snapshot, processorId)), String(evidence['fence'])).toBe(true);
          if (evidence['fence'] === 'fence-pods-gone' && before.target.kind === 'edge') expect(readyOf(snapshot, before.target.nodeId)).toBe('true');
        }
      });
    }), runs);
  });

  it('an epoch that ran under one name starts under another only behind a fence', () => {
    fc.assert(fc.property(worlds, (script) => {
      const ran = new Map<string, string>();
      live(script, (snapshot, result) => {
        for (const { kind, processorId, before, after, evidence } of result.changes) {
          if (after?.phase !== 'active') continue;
          const spec = specOf(snapshot, processorId)!;
          const key = `${processorId} ${String(after.epoch)}`;
          const name = ran.get(key) ?? spec.namespace;
          if (name !== spec.namespace) expect([kind, before?.phase, typeof evidence['fence']]).toEqual(['resume', 'stopping', 'string']);
          ran.set(key, spec.namespace);
        }
      });
    }), runs);
  });

  it('a stop that nobody was told of never counts as one', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        const verdictOf = verdictsOf(result);
        for (const { kind, before, evidence, processorId } of result.changes) {
          if (kind !== 'move' || before?.phase !== 'stopping' || evidence['fence'] === 'fence-confirmed' || verdictOf(before.target) === 'lost') continue;
          expect(snapshot.agents.find((each) => each.processorId === processorId)?.publishedAt ?? null).not.toBeNull();
        }
      });
    }), runs);
  });

  it('nothing goes to a node that is not well, and home waits until it was steady for its window', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        const verdictOf = verdictsOf(result);
        for (const { kind, after } of result.changes) if (kind === 'move') expect(['healthy', null]).toContain(verdictOf(after!.target));
        for (const { nodeId, verdict } of result.transitions) {
          const { recorded } = snapshot.nodes.find((node) => node.nodeId === nodeId)!;
          if (verdict !== 'healthy' || recorded === null) continue;
          expect(recorded.verdict).toBe('returning');
          expect(snapshot.at - recorded.since).toBeGreaterThanOrEqual(Math.min(14_400_000, 60_000 * 2 ** Math.max(0, recorded.flaps - 1)));
        }
      });
    }), runs);
  });

  it('a failure is counted when it begins, and not again until a sign of life', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { transitions }) => {
        for (const { nodeId, verdict, flaps } of transitions) {
          const { recorded } = snapshot.nodes.find((node) => node.nodeId === nodeId)!;
          const fresh = failed.has(verdict) && (recorded === null || !failed.has(recorded.verdict));
          if (fresh) expect(flaps).toBeGreaterThanOrEqual(1);
          else expect(flaps).toBeLessThanOrEqual(recorded?.flaps ?? 0);
          expect(flaps).toBeLessThanOrEqual((recorded?.flaps ?? 0) + 1);
        }
      });
    }), runs);
  });

  it('policy that holds, holds', () => {
    fc.assert(fc.property(worlds, (script) => {
      const { onFailure, writerAlive, failback } = script.policy;
      live(script, (_, { changes }) => {
        for (const { kind, reason, before } of changes) {
          if ((kind !== 'stop' && kind !== 'move') || before?.phase !== 'active') continue;
          if (onFailure !== 'replace') expect(failureReasons.has(reason)).toBe(false);
          if (writerAlive === 'hold') expect(reason).not.toBe('node-detached');
          if (failback === 'manual') expect(reason).not.toBe('node-recovered');
        }
      });
    }), runs);
  });

  it('state that stays on a node never leaves it, unless policy accepts its loss', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { changes }) => {
        const workloads = new Map(snapshot.fleet.workloads.map((w) => [w.digest, w]));
        for (const { kind, processorId, evidence } of changes) {
          const spec = specOf(snapshot, processorId);
          const backend = spec && workloads.get(spec.workload)?.stateBackend;
          if (kind !== 'move' || (backend !== 'local' && backend !== 'pvc')) continue;
          expect(script.policy.stateLoss).toBe('accept');
          expect(evidence['stateLost']).toBe(true);
        }
      });
    }), runs);
  });

  it('a plan and a snapshot survive JSON', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        expect(plan(JSON.parse(JSON.stringify(snapshot)) as Snapshot)).toEqual(result);
        expect(JSON.parse(JSON.stringify(result))).toEqual(result);
      });
    }), { numRuns: 100 });
  });
});

const failed: ReadonlySet<Verdict> = new Set<Verdict>(['lost', 'silent', 'detached']);

/** What each proof claims, told in other words than `plan` does. */
const proofs: Record<string, (agent: AgentSignals, snapshot: Snapshot, grace: number) => boolean> = {
  'fence-confirmed': ({ confirmed }) => confirmed !== null,
  'fence-acknowledged': ({ acknowledgedAt }) => acknowledgedAt !== null,
  'fence-pods-gone': ({ pods }) => pods.known && pods.value === 'gone',
  'fence-lease-over': ({ leaseUntil }, { at }, grace) => leaseUntil !== null && at > leaseUntil + grace,
  'fence-silent': ({ lastBeatAt, leaseUntil, pods }, { at }, grace) => leaseUntil === null && lastBeatAt !== null && at - lastBeatAt >= Math.max(60_000, grace) && (pods.known || pods.because !== 'watch-down'),
};

/** What its template may take to stop, and the margin. */
function grace(snapshot: Snapshot, id: ProcessorId): number {
  const spec = specOf(snapshot, id)!;
  return snapshot.fleet.workloads.find(({ digest }) => digest === spec.workload)!.shutdownTimeoutSec * 1_000 + 10_000;
}

function specOf({ fleet }: Snapshot, id: ProcessorId): ProcessorSpec | undefined {
  return [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])].find((spec) => spec.id === id);
}

/** Null for the managed pool. */
function verdictsOf({ verdicts }: Plan): (target: Target) => Verdict | null {
  const byNode = new Map(verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
  return (target) => (target.kind === 'edge' ? byNode.get(target.nodeId)! : null);
}

function readyOf({ nodes }: Snapshot, id: string): string | null {
  const kubernetes = nodes.find(({ nodeId }) => nodeId === id)?.kubernetes;
  return kubernetes?.known === true ? kubernetes.value.ready : null;
}

describe('reasons', () => {
  it('have one sentence each, and no two the same', () => {
    const sentences = reasonCodes.map((code) => sentence(code, {}));
    expect(new Set(sentences).size).toBe(reasonCodes.length);
  });
});
