import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { directives, messages, parseBeat, standings } from '../../../src/http/heartbeat.ts';

const id = '0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000';
/** As `HeartbeatPayload.to_dict` of the Python SDK sends it. */
const fromSdk = {
  processor_id: id,
  node_id: 'edge-1',
  role: 'primary',
  epoch: null,
  timestamp: 1_790_000_000.123456,
  status: 'healthy',
  last_state_sync: null,
  state_size_bytes: null,
  uptime_sec: 12.5,
};

describe('parseBeat', () => {
  test('takes what the SDK sends', () => {
    expect(parseBeat(fromSdk)).toEqual({
      ok: true,
      value: {
        subject: { kind: 'processor', id },
        nodeId: null,
        nodeName: 'edge-1',
        proven: false,
        status: 'healthy',
        role: 'primary',
        sdkEpoch: null,
        placementEpoch: null,
        lastStateSync: null,
        stateSizeBytes: null,
        uptimeSec: 12.5,
      },
    });
  });

  test.each([
    ['a uuid in capitals', { node_id: id.toUpperCase() }, { nodeId: id, nodeName: null }],
    ['a name', { node_id: 'edge-1' }, { nodeId: null, nodeName: 'edge-1' }],
    ['what the SDK says where it does not know', { node_id: 'unknown' }, { nodeId: null, nodeName: null }],
    ['no text', { node_id: '' }, { nodeId: null, nodeName: null }],
    ['null', { node_id: null }, { nodeId: null, nodeName: null }],
    ['nothing', {}, { nodeId: null, nodeName: null }],
  ])('reads as node_id %s', (_, body, expected) => {
    expect(parseBeat(body)).toMatchObject({ ok: true, value: expected });
  });

  test.each([
    [id.toUpperCase(), { kind: 'processor', id }],
    ['my-processor', { kind: 'stranger' }],
    ['', { kind: 'node' }],
    [null, { kind: 'node' }],
  ])('reads processor_id %j', (processor_id, subject) => {
    expect(parseBeat({ processor_id })).toMatchObject({ ok: true, value: { subject } });
  });

  test.each([
    ['processor_id', 7],
    ['processor_id', 'a\0b'],
    ['node_id', 'x'.repeat(254)],
    ['status', { deep: true }],
    ['role', 'x'.repeat(65)],
    ['epoch', 'three'],
    ['epoch', 1.5],
    ['timestamp', 'now'],
    ['last_state_sync', 1e18],
    ['state_size_bytes', -1],
    ['uptime_sec', 'long'],
    ['placement_epoch', 0],
  ])('refuses %s = %j by name, value and mend', (field, value) => {
    const parsed = parseBeat({ ...fromSdk, [field]: value });
    expect(parsed).toMatchObject({ ok: false, problems: [{ field, value: expect.stringContaining(JSON.stringify(value).slice(0, 70)) as unknown, mend: expect.stringMatching(/^Send /) as unknown }] });
  });

  test.each([[null], [[]], ['text'], [undefined], [3]])('refuses the body %j', (body) => {
    expect(parseBeat(body)).toMatchObject({ ok: false, problems: [{ field: 'body' }] });
  });

  test('names every problem at once, and shows no more than 80 characters of a value', () => {
    const parsed = parseBeat({ status: 'x'.repeat(500), epoch: [] });
    if (parsed.ok) throw new Error('accepted');
    expect(parsed.problems.map(({ field }) => field).sort()).toEqual(['epoch', 'status']);
    for (const { value } of parsed.problems) expect(value.length).toBeLessThanOrEqual(80);
  });

  test('answers whatever JSON comes, and stores only what PostgreSQL takes', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.keys(fromSdk), 'placement_epoch'), fc.jsonValue()), (body) => {
        const parsed = parseBeat(body);
        if (!parsed.ok) return;
        for (const value of Object.values(parsed.value)) if (typeof value === 'string') expect(value).not.toContain('\0');
        for (const whole of [parsed.value.sdkEpoch, parsed.value.placementEpoch, parsed.value.stateSizeBytes]) {
          if (whole !== null) expect(Number.isSafeInteger(whole)).toBe(true);
        }
      }),
    );
  });
});

test('only who runs what should not run is told to stop, and is told why', () => {
  expect(standings.filter((standing) => directives[standing] === 'shutdown')).toEqual(['unknown', 'ended', 'stopping', 'stale']);
  for (const standing of standings) if (directives[standing] === 'shutdown') expect(messages[standing]).toBeDefined();
});
