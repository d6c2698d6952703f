import { expect, test } from 'vitest';
import { sensorParser, type SensorResult } from '../../../src/observe/parse-sensor.ts';

const id = '00000000-0000-4000-8000-00000000000a';
const parse = (config: unknown, text?: string): SensorResult => sensorParser()({ hash: '', id, type: 'camera', connectionConfig: text ?? JSON.stringify(config) });

/** Name → value, or the Secret where the value is. */
function env(config: unknown): Record<string, string> {
  const result = parse(config);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return Object.fromEntries(result.sensor.env.map((each) => [each.name, 'value' in each ? each.value : `${each.secret.name}/${each.secret.key}`]));
}
const own = { SENSOR_ID: id, SENSOR_TYPE: 'camera' };
const secret = (name: string): Record<string, string> => ({ [name]: `dory-sensor-${id}/${name}` });

test('settings become variables in upper snake case', () => {
  expect(env({ frameRate: 25, 'stream-name': 'main', debug: false, none: null, resolution: { width: 1920, size: { x: 1 } }, tags: ['a', 'b'], empty: {} })).toEqual({
    ...own, SENSOR_FRAME_RATE: '25', SENSOR_STREAM_NAME: 'main', SENSOR_DEBUG: 'false', SENSOR_RESOLUTION_WIDTH: '1920', SENSOR_RESOLUTION_SIZE_X: '1', SENSOR_TAGS: '["a","b"]',
  });
});

test.each([null, '', 'null', '{}'])('connection_config %j is no setting', (text) => {
  const result = sensorParser()({ hash: '', id, type: 'camera', connectionConfig: text });
  expect(result.ok && result.sensor.env).toEqual([{ name: 'SENSOR_ID', value: id }, { name: 'SENSOR_TYPE', value: 'camera' }]);
});

test('the row says id and type, and settings of these names keep theirs', () => {
  expect(env({ id: 7, type: 'rtsp' })).toEqual({ ...own, SENSOR_CONNECTION_ID: '7', SENSOR_CONNECTION_TYPE: 'rtsp' });
});

test.each([
  [{ password: 'x' }, 'SENSOR_PASSWORD'],
  [{ auth: { value: 'x' } }, 'SENSOR_AUTH_VALUE'],
  [{ pin_code: 1234 }, 'SENSOR_PIN_CODE'],
  [{ url: 'rtsp://a:b@c' }, 'SENSOR_URL'],
  [{ list: [1, { password: 5 }] }, 'SENSOR_LIST'],
  [{ secrets: ['a'] }, 'SENSOR_SECRETS'],
  [{ key: 'abc' }, 'SENSOR_KEY'],
  [{ list: ['rtsp://a:b@c'] }, 'SENSOR_LIST'],
])('%j is a reference', (config, name) => {
  expect(env(config)).toEqual({ ...own, ...secret(name) });
});

test('one parser for many sensors mixes nothing up', () => {
  const parser = sensorParser();
  const settings = (n: number) => ({ hash: '', id: `id-${String(n)}`, type: 'camera', connectionConfig: JSON.stringify({ password: 'same', fps: 5 }) });
  const [a, b] = [parser(settings(1)), parser(settings(2))];
  expect(a.ok && a.sensor.env[2]).toEqual({ name: 'SENSOR_PASSWORD', secret: { name: 'dory-sensor-id-1', key: 'SENSOR_PASSWORD' } });
  expect(b.ok && b.sensor.env[2]).toEqual({ name: 'SENSOR_PASSWORD', secret: { name: 'dory-sensor-id-2', key: 'SENSOR_PASSWORD' } });
  expect(a.ok && b.ok && a.sensor.env[0] === b.sensor.env[0]).toBe(true);
});

test.each([
  ['{"a":', 'invalid-json sensors.connection_config'],
  ['[1]', 'invalid-value sensors.connection_config'],
  ['{"a_b":1,"a":{"b":2}}', 'invalid-name sensors.connection_config.a.b'],
  ['{"—":1}', 'invalid-name sensors.connection_config["—"]'],
  ['{"a":"x\\u0000"}', 'invalid-value sensors.connection_config.a'],
  ['{"serial":12345678901234567890}', 'invalid-value sensors.connection_config.serial'],
])('%s: %s', (text, expected) => {
  const result = parse(null, text);
  expect(result.ok ? [] : result.problems.map(({ code, field }) => `${code} ${field}`)).toEqual([expected]);
});

test('settings too deep to look into are hidden', () => {
  const deep = (levels: number): unknown => (levels === 0 ? 'x' : { a: deep(levels - 1) });
  expect(Object.values(env({ a: deep(40) })).some((value) => value.startsWith('dory-sensor-'))).toBe(true);
});
