import type { Epoch } from '../../src/model/ids.ts';
import { instant, type Instant } from '../../src/model/time.ts';
import { directives, type Standing } from '../../src/http/heartbeat.ts';
import type { Mutation } from './mutations.ts';
import type { BeatRow, Rows } from './rows.ts';
import type { Script } from './script.ts';

/** What an agent sends. */
export interface Beat {
  readonly processor: string;
  /** By name: a node of ours, or one of the managed pool. */
  readonly node: string;
  /** Echoed by agents that honour leases. */
  readonly epoch: number | null;
  readonly status: 'healthy' | 'starting' | 'stopped';
}

export interface BeatAnswer {
  readonly directive: 'continue' | 'shutdown';
  readonly placementEpoch: number | null;
  /** Null: no lease. */
  readonly lease: number | null;
}

/** A database that can't be asked stops nobody, and promises nothing. */
export const unstored: BeatAnswer = { directive: 'continue', placementEpoch: null, lease: null };

/** A pause in the record longer than this is a gap; as in `src/http/intake.ts`. */
const coverageGapMs = 5_000;

/** The first part of the statement of `src/http/intake-sql.ts`: the record of intake. */
export function extendCoverage(rows: Rows, at: Instant, restart: boolean): void {
  const { intake } = rows;
  const gap = intake === null || restart || at - intake.until > coverageGapMs;
  rows.intake = { since: gap ? at : intake.since, until: instant(Math.max(intake?.until ?? at, at)) };
}

/** The rest of it: where a beat comes from, what it proves, and what it is answered. */
export function storeBeat(script: Script, rows: Rows, beat: Beat, at: Instant, mutation: Mutation | null): BeatAnswer {
  const placement = rows.placements.get(beat.processor);
  const fromNode = script.nodes.some(({ name }) => name === beat.node) ? beat.node : null;
  const standing = standingOf(rows, beat, fromNode);
  const counted = mutation === 'beats-count-for-home'
    ? (rows.desired.get(beat.processor)?.home ?? fromNode)
    : fromNode ?? (standing === 'current' || standing === 'stopping' ? (placement?.target.kind === 'edge' ? placement.target.nodeId : null) : null);
  if (counted !== null && counted !== 'managed' && !rows.decommissioned.has(counted)) rows.heartbeats.set(counted, at);
  const epoch = placement?.epoch ?? null;
  const honours = beat.epoch !== null && beat.epoch === epoch;
  if (standing === 'stale' && mutation === 'stale-sender-leased') return { directive: 'continue', placementEpoch: beat.epoch, lease: script.policy.lease };
  const leases = honours && standing === 'current';
  if (placement !== undefined && (standing === 'current' || standing === 'stopping')) {
    rows.beats.set(beat.processor, beatRow(rows.beats.get(beat.processor), { beat, epoch: placement.epoch, at, standing, leaseUntil: leases && mutation !== 'lease-not-recorded' ? instant(at + script.policy.lease) : null }));
  }
  return { directive: directives[standing], placementEpoch: epoch, lease: leases ? script.policy.lease : null };
}

function standingOf(rows: Rows, beat: Beat, fromNode: string | null): Standing {
  if (!rows.desired.has(beat.processor)) return 'unknown';
  const placement = rows.placements.get(beat.processor);
  if (placement === undefined) return 'unplaced';
  if (beat.epoch !== null && beat.epoch < placement.epoch) return 'stale';
  if (beat.epoch !== null && beat.epoch > placement.epoch) return 'ahead';
  const inPlace = placement.target.kind === 'edge' ? fromNode === placement.target.nodeId : fromNode === null;
  if (beat.epoch === null && !inPlace) return 'stale';
  return placement.phase === 'stopping' ? 'stopping' : 'current';
}

interface Proof {
  readonly beat: Beat;
  readonly epoch: Epoch;
  readonly at: Instant;
  readonly standing: Standing;
  readonly leaseUntil: Instant | null;
}

function beatRow(before: BeatRow | undefined, { beat, epoch, at, standing, leaseUntil }: Proof): BeatRow {
  const same = before?.epoch === epoch;
  const stopped = standing === 'stopping' && beat.status === 'stopped';
  return {
    epoch,
    lastBeatAt: at,
    // Told to stop, it gets no more time; what it was promised before still counts.
    leaseUntil: leaseUntil ?? (same && beat.epoch !== null ? before.leaseUntil : null),
    acknowledgedAt: stopped ? ((same ? before.acknowledgedAt : null) ?? at) : null,
  };
}
