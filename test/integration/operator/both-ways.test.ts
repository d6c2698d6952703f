import { describe, expect, it, onTestFinished } from 'vitest';
import { operations } from '../../../src/operator/registry.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { createToken } from '../../../src/platform/tokens.ts';
import { operatorServer } from '../../support/operator-server.ts';
import { small, type Ended, type Workshop } from '../cli/program.ts';

type Run = (...args: readonly string[]) => Promise<Ended>;

interface Step {
  readonly words: string;
  readonly args?: readonly string[];
  readonly keep?: readonly [name: string, member: string];
  /** How it ends; 0 unless said. */
  readonly code?: number;
}
/** What operators do in an afternoon: every operation at least once. `$name` is what an earlier step gave out. */
const afternoon: readonly Step[] = [
  { words: 'leader', code: 5 },
  { words: 'leader step-down', args: ['--reason', 'r'] },
  { words: 'status' },
  { words: 'plan', code: 2 },
  { words: 'plan', args: ['--diffs', '0'], code: 2 },
  { words: 'history' },
  { words: 'history', args: ['00000000-0000-4000-8000-0000000000c1', '--limit', '1'] },
  { words: 'nodes' },
  { words: 'processors' },
  { words: 'explain', args: ['edge-1'] },
  { words: 'explain', args: ['00000000-0000-4000-8000-0000000000c1'] },
  { words: 'simulate', args: ['--fail', 'edge-1'] },
  { words: 'drill', args: ['--fail', 'edge-1'] },
  { words: 'maintenance begin', args: ['node/edge-1', '--reason', 'disk', '--for', '2h'] },
  { words: 'maintenance begin', args: ['node/edge-1', '--reason', 'disk', '--for', '3h'], code: 1 },
  { words: 'maintenance begin', args: ['node/edge-1', '--reason', 'disk', '--for', '3h', '--extend'] },
  { words: 'maintenance list' },
  { words: 'maintenance end', args: ['node/edge-1'] },
  { words: 'maintenance end', args: ['node/edge-1'], code: 1 },
  { words: 'maintenance list', args: ['--all'] },
  { words: 'pause', args: ['--reason', 'storm'] },
  { words: 'pause', args: ['--reason', 'again'] },
  { words: 'resume', args: ['--reason', 'over'] },
  { words: 'policy set', args: ['template/camera', '--on-failure', 'hold', '--targets', 'managed,failover-target', '--priority', '-5', '--reason', 'r'] },
  { words: 'policy set', args: ['processor/00000000-0000-4000-8000-0000000000c1', '--failback', 'window', '--failback-window', '22:30-04:00', '--reason', 'r'] },
  { words: 'policy set', args: ['template/camera', '--priority', 'high', '--reason', 'r'], code: 1 },
  { words: 'policy set', args: ['template/camera', '--failback', 'window', '--failback-window', '02:00-02:00', '--reason', 'r'], code: 1 },
  { words: 'policy list' },
  { words: 'policy list', args: ['--limit', '1'] },
  { words: 'policy clear', args: ['template/camera', '--reason', 'r'] },
  { words: 'node register', args: ['edge-9', '--failover-enabled', 'false', '--reason', 'new'] },
  { words: 'node token create', args: ['edge-9', '--reason', 'new'], keep: ['node', 'id'] },
  { words: 'node token rotate', args: ['$node', '--grace', '1h', '--reason', 'r'] },
  { words: 'node token list' },
  { words: 'node token revoke', args: ['$node', '--reason', 'r'] },
  { words: 'node decommission', args: ['edge-9', '--reason', 'sold'] },
  { words: 'node decommission', args: ['edge-9', '--reason', 'sold'] },
  { words: 'node decommission', args: ['nobody', '--reason', 'sold'], code: 1 },
  { words: 'token list' },
  { words: 'token create', args: ['bob', '--reason', 'r'], keep: ['bob', 'id'] },
  { words: 'token rotate', args: ['$bob', '--reason', 'r'] },
  { words: 'token revoke', args: ['$bob', '--reason', 'r'] },
  { words: 'token revoke', args: ['$bob', '--reason', 'r'], code: 1 },
  { words: 'ack', args: ['edge-1', '--reason', 'cable'] },
  { words: 'approve', args: ['empty-result', '--reason', 'closed', '--for', '10m'] },
  { words: 'approve', args: ['move/00000000-0000-4000-8000-0000000000c1', '--reason', 'asked'] },
  { words: 'approve', args: ['budget', '--reason', 'nothing waits'], code: 1 },
  { words: 'confirm-stop', args: ['00000000-0000-4000-8000-0000000000c2', '--reason', 'off'] },
  { words: 'confirm-stop', args: ['00000000-0000-4000-8000-0000000000c3', '--reason', 'off'], code: 1 },
  { words: 'repair epochs', args: ['--dry-run', '--reason', 'look'] },
  { words: 'events' },
  { words: 'events', args: ['--kind', 'maintenance', '--limit', '2'] },
  { words: 'node power-off-confirmed', args: ['edge-2', '--reason', 'fuse'], code: 1 },
  { words: 'adopt', code: 1 },
  { words: 'adopt start', args: ['--reason', 'cutover'], code: 1 },
  { words: 'adopt back', args: ['00000000-0000-4000-8000-0000000000c1', '--reason', 'r'] },
  { words: 'adopt back', args: ['nobody', '--reason', 'r'], code: 1 },
];

async function live(run: Run): Promise<{ readonly step: string; readonly code: number | null; readonly out: unknown; readonly err: string }[]> {
  const kept = new Map<string, string>();
  const told = [];
  for (const { words, args = [], keep } of afternoon) {
    const filled = args.map((arg) => (arg.startsWith('$') ? (kept.get(arg.slice(1)) ?? arg) : arg));
    const { code, out, err } = await run(...words.split(' '), ...filled, '-o', 'json');
    const document = out === '' ? null : (parsed(out) as Readonly<Record<string, unknown>>);
    if (keep !== undefined) kept.set(keep[0], String(document?.[keep[1]]));
    told.push({ step: [words, ...args].join(' '), code, out: timeless(document), err: timelessText(err) });
  }
  return told;
}

function parsed(out: string): unknown {
  try {
    return JSON.parse(out);
  } catch {
    return out;
  }
}

/** What differs from one run to the next made equal: moments, ages, ids that were made up, secrets. */
function timeless(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => timeless(item));
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, timeless(inner, name)]));
  if (typeof value === 'number' && (/Ms$|^(?:at|since|wakeAt)$/.test(key) || value > 1e9)) return '<ms>';
  return typeof value === 'string' ? timelessText(value) : value;
}

function timelessText(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<moment>')
    .replaceAll(/(?!00000000-0000-4000-8000-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<id>')
    .replaceAll(/dory_(?:op|node)_[0-9a-f]{64}/g, '<token>')
    .replaceAll(/\b[0-9a-f]{40}\b/g, '<commit>')
    .replaceAll(/\b[0-9a-f]{12}\b/g, '<hex>')
    .replaceAll(/\b\d+(?:\.\d+)? s\b|\b\d+m\d*s?\b/g, '<span>')
    .replaceAll(/^https?:\S+/gm, '<server>');
}

/** Placed and committed; `cam-2` is stopping; `edge-1` flapped twice. */
async function prepared(): Promise<Workshop> {
  const shop = await small(onTestFinished);
  expect((await shop.here('reconcile', '--once')).code).toBe(0);
  await shop.pool.query(`update dory.placements set phase = 'stopping' where processor_id = '00000000-0000-4000-8000-0000000000c2'`);
  await shop.pool.query(`update dory.node_verdicts set flaps = 2 where node_id = '00000000-0000-4000-8000-0000000000e1'`);
  return shop;
}

describe('every operation', () => {
  it('is in the afternoon', () => {
    expect([...new Set(afternoon.map(({ words }) => words.replaceAll(' ', '.')))].toSorted()).toEqual(operations.map(({ name }) => name).toSorted());
  });

  it('ends the same on the database and on a server, and leaves the same behind', async () => {
    const [direct, served] = await Promise.all([prepared(), prepared()]);
    const server = await operatorServer(served.env);
    onTestFinished(server.close);
    await createToken(direct.pool, 'ada', { role: 'operator' }, { random: systemRandom, by: 'test' });
    await direct.pool.query('update dory.tokens set last_used_at = now()');
    // The server is all that the commands know.
    const env = { DORY_DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none', DORY_SERVER: server.url, DORY_TOKEN: await server.token('ada') };
    const here: Run = (...args) => direct.here(...args, ...(operations.some(({ name, changesState }) => changesState && args.join('.').startsWith(`${name}.`)) ? ['--by', 'ada'] : []));
    const [one, other] = await Promise.all([live(here), live((...args) => served.hereWith(env, ...args))]);
    expect(other).toEqual(one);
    expect(one.map(({ step, code }) => [step, code])).toEqual(afternoon.map(({ words, args = [], code = 0 }) => [[words, ...args].join(' '), code]));
    const left = async ({ pool }: Workshop): Promise<unknown> =>
      timeless((await pool.query(`select kind, node_id, processor_id, evidence from dory.events where evidence ->> 'by' is not null order by id`)).rows);
    expect(await left(served)).toEqual(await left(direct));
    expect(((await left(direct)) as unknown[]).length).toBeGreaterThan(15);
  });
});
