import { expect, test } from 'vitest';
import { createLog, type Log } from '../../../src/platform/log.ts';

function collecting(): { readonly log: Log; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ level: 'info', destination: { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) } });
  return { log, lines };
}

test('a line is JSON with the level by name and the time in ISO 8601', () => {
  const { log, lines } = collecting();
  log.debug('hidden');
  log.warn({ node: 'edge-17' }, 'lost');
  expect(lines).toEqual([{ level: 'warn', time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string, node: 'edge-17', msg: 'lost' }]);
});

test('secrets are not printed, two levels deep', () => {
  const { log, lines } = collecting();
  log.info({ token: 'hunter2', git: { token: 'hunter2', url: 'https://h/x' }, a: { git: { password: 'hunter2' } } }, 'settings');
  expect(JSON.stringify(lines)).not.toContain('hunter2');
  expect(lines[0]).toMatchObject({ git: { url: 'https://h/x' } });
});
