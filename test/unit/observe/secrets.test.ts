import { describe, expect, test } from 'vitest';
import { isCredential, looksLikeCredential, shown, snakeCase } from '../../../src/observe/secrets.ts';

describe('a credential', () => {
  test.each([
    ['password', 'hunter2'],
    ['rtspPassword', 'hunter2'],
    ['DB_PASSWD', 'x'],
    ['dbpassword', 'x'],
    ['SMTP_PASS', 'x'],
    ['pwd', 'x'],
    ['client_secret', 'x'],
    ['SECRET_ROTATION', 'x'],
    ['DORY_STATE_TOKEN', 'x'],
    ['SENSOR_KEY', 'abc'],
    ['key', 'abc'],
    ['apiKey', 'abc'],
    ['API-KEY', 'abc'],
    ['AWS_ACCESS_KEY_ID', 'abc'],
    ['ssh_private_key', 'abc'],
    ['tls_key', 'abc'],
    ['storageAccountKey', 'abc'],
    ['credentials', 'abc'],
    ['AUTH', 'abc'],
    ['authorization', 'abc'],
    ['SENTRY_DSN', 'https://example.com/1'],
    ['connection_string', 'Server=x'],
    ['community', 'public'],
    ['passphrase', 'true'],
    ['url', 'rtsp://viewer:hunter2@10.0.0.1/main'],
    ['url', 'rtsp://viewer:hun/ter2@10.0.0.1/main'],
    ['url', 'https://sometoken@example.com/repo'],
    ['url', 'https://example.com/feed?token=abc'],
    ['url', 'https://example.com/feed?size=3&api_key=abc'],
    ['TOKEN_URL', 'https://user:pw@example.com/token'],
    ['dsnless', 'user:hunter2@tcp(10.0.0.1:3306)/db'],
    ['settings', 'host=db user=app password=hunter2'],
    ['settings', '{"host":"db","password":"hunter2"}'],
    ['flags', '--verbose --password hunter2'],
    ['header', 'Authorization: Bearer abcdefgh'],
    ['note', 'Bearer abcdefghijkl'],
    ['note', 'AKIAIOSFODNN7EXAMPLE'],
    ['note', '-----BEGIN RSA PRIVATE KEY-----\nabc'],
    ['note', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc'],
    ['note', 'ghp_0123456789abcdef0123'],
    ['note', 'xoxb-123456789012-abc'],
    ['note', '$2b$12$abcdefghijklmnopqrstuv'],
    ['note', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'],
    ['note', 'aG93IG5vdyBicm93biBjb3cgMTIz'],
    ['note', '9f86d081884c7d659a2feaa0c55ad015'],
  ])('%s = %s', (key, value) => {
    expect(isCredential(key, value)).toBe(true);
  });
});

describe('no credential', () => {
  test.each([
    ['DORY_STATE_PVC_MOUNT', '/data'],
    ['DORY_RABBITMQ_OAUTH2_TOKEN_URL', 'https://login.example.com/oauth2/token'],
    ['SECRET_NAME', 'my-secret'],
    ['TLS_KEY_FILE', '/etc/tls/tls.key'],
    ['TOKEN_PATH', '/var/run/secrets/token'],
    ['TOKEN_TTL', '3600'],
    ['AUTH_USER', 'viewer'],
    ['AUTH_TYPE', 'digest'],
    ['auth', 'digest'],
    ['USE_TOKEN', 'true'],
    ['MAX_TOKENS', '4096'],
    ['password', ''],
    ['password', '$(BROKER_PASSWORD)'],
    ['url', 'amqp://app:$(BROKER_PASSWORD)@broker/'],
    ['url', 'rtsp://10.0.0.1:554/main?profile=1'],
    ['url', 'http://example.com:8080/@scope/package'],
    ['ROUTING_KEY', 'site.a.counter'],
    ['TOKENIZER', 'bert-base'],
    ['COMPASS', 'north'],
    ['PASS_COUNT', '3'],
    ['MONKEY', 'x'],
    ['AUTHOR', 'me'],
    ['client_id', 'dory-a'],
    ['IMAGE', 'registry.example.com/app@sha256:9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015'],
    ['GIT_COMMIT', '9f86d081884c7d659a2feaa0c55ad0159f86d081'],
    ['SENSOR_ID', '0190a3b2-7c1d-7e5f-8a9b-0c1d2e3f4a5b'],
    ['MODEL', 's3://models/line-counter/yolo-nano-2.4.onnx'],
    ['CLASS', 'RekognitionVideoStreamV2Analyzer'],
    ['FORMAT', 'application/vnd.example.event.v2+json'],
    ['time', '2026-01-15T12:00:00Z'],
  ])('%s = %s', (key, value) => {
    expect(isCredential(key, value)).toBe(false);
  });
});

test('a long text is judged in linear time', () => {
  const texts = ['a', 'a:', 'a=', 'aA1', '/aA1', 'key:', 'key=a ', '-key a', '://', ':/', '-a ', '://a:', 'password', ' ', '@'].map((unit) => unit.repeat(100_000 / unit.length));
  const start = performance.now();
  for (const text of texts) looksLikeCredential(text);
  expect(performance.now() - start).toBeLessThan(3_000);
});

test.each([
  ['apiKey', 'api_key'],
  ['RTSPUrl', 'rtsp_url'],
  ['frame-rate', 'frame_rate'],
  ['_x__y_', 'x_y'],
  ['Größe', 'gr_e'],
])('%s is %s in snake case', (name, snake) => {
  expect(snakeCase(name)).toBe(snake);
});

test('an error shows the beginning of a value, without control characters, and nothing of a credential', () => {
  expect(shown('a\u001b[31m\nb')).toBe('a [31m b');
  expect(shown('y '.repeat(50))?.length).toBe(80);
  expect(shown('https://user:pw@example.com')).toBeNull();
});
