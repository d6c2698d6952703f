import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseFleetFile } from '../../../src/observe/fleet-file.ts';
import { testPolicy } from '../../support/policy.ts';

/** Looks like nothing: only where it stands tells that it is a credential. */
const secret = fc.stringMatching(/^zq[a-km-z2-9]{8,14}$/);

const credentialKey = fc.constantFrom('password', 'DB_PASSWD', 'rtspPassword', 'clientSecret', 'API_KEY', 'x-api-key', 'accessToken', 'privateKey', 'credentials', 'auth', 'dsn', 'connectionString', 'SENTRY_DSN', 'jwt', 'pwd');
const plainKey = fc.constantFrom('url', 'endpoint', 'note', 'SETTING', 'TOKEN_URL', 'KEY_FILE', 'options');

/** A text that holds the secret, under a key that says nothing. */
const wrapped = (value: string) =>
  fc.constantFrom(
    `rtsp://viewer:${value}@10.0.0.1:554/main`,
    `https://${value}@example.com/a`,
    `https://example.com/a?size=1&token=${value}`,
    `amqps://app:a/${value}@broker:5671/v`,
    `host=db password=${value} user=app`,
    `Server=db;Password=${value};`,
    `{"nested":{"secret":"${value}"}}`,
    `app:${value}@tcp(db:3306)/x`,
    `--token ${value}`,
    `Authorization: Bearer ${value}`,
    `-----BEGIN PRIVATE KEY-----\n${value}\n-----END PRIVATE KEY-----`,
  );

const setting = secret.chain((value) =>
  fc.record({
    value: fc.constant(value),
    pair: fc.oneof(fc.tuple(credentialKey, fc.constant(value)), fc.tuple(plainKey, wrapped(value))),
  }),
);

const policy = testPolicy;
const nest = (key: string, value: unknown, shape: string): object =>
  ({ plain: { [key]: value }, nested: { group: { [key]: value } }, list: { items: [{ [key]: value }] }, deep: { a: { b: { c: [[{ [key]: value }]] } } } })[shape] ?? {};

test('no credential of a sensor, a template or a broken one is anywhere in the snapshot', () => {
  fc.assert(
    fc.property(
      setting, setting, setting,
      fc.constantFrom('plain', 'nested', 'list', 'deep'),
      fc.constantFrom('', 'broken json', 'bad argument', 'bad setting', 'bad image', 'bad name'),
      (ofSensor, ofTemplate, ofBroken, shape, fault) => {
        const runtime: Record<string, unknown> = { env_vars: { [ofTemplate.pair[0].replace(/\W/g, '_')]: ofTemplate.pair[1] } };
        const held = ofBroken.pair[1];
        if (fault === 'bad argument') runtime['container'] = { args: ['--password', ofBroken.value, `--secret=${ofBroken.value}`] };
        if (fault === 'bad setting') Object.assign(runtime['env_vars'] as object, { DORY_HEALTH_PATH: `?token=${ofBroken.value}`, OTHER_PASSWORD: [ofBroken.value] });
        if (fault === 'bad name') Object.assign(runtime['env_vars'] as object, { [`a password=${ofBroken.value}`]: 'x' });
        const file = {
          templates: [{ slug: 'app', version: '1', image: fault === 'bad image' ? `https://u:${ofBroken.value}@example.com/x` : 'a/b:1', runtimeConfig: fault === 'broken json' ? `{"env_vars":{"x":"${held}` : runtime }],
          sensors: [{ name: 'cam', type: 'camera', connectionConfig: nest(ofSensor.pair[0], ofSensor.pair[1], shape) }],
          processors: [{ name: 'p', template: 'app', sensor: 'cam' }],
        };
        const snapshot = parseFleetFile(JSON.stringify(file), { policy, defaultNamespace: 'default' });
        const text = JSON.stringify(snapshot);
        const used = fault === '' ? [ofSensor, ofTemplate] : [ofSensor, ofTemplate, ofBroken];
        for (const { value } of used) expect(text).not.toContain(value);
        expect(snapshot.fleet.quarantined.length > 0).toBe(fault !== '');
      },
    ),
    { numRuns: 500 },
  );
});
