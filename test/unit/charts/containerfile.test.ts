import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../../src/platform/package-root.ts';

const root = packageRoot();
const instructions = readFileSync(join(root, 'Containerfile'), 'utf8').replace(/\\\n/g, ' ').split('\n').filter((line) => /^[A-Z]+ /.test(line));
const copied = instructions.filter((line) => line.startsWith('COPY ') && !line.includes('--from=')).flatMap((line) => line.split(' ').slice(1, -1));
const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('what is copied is there, and reaches the builder', () => {
  expect(copied.length).toBeGreaterThan(5);
  for (const path of copied) {
    expect(existsSync(join(root, path)), path).toBe(true);
    expect(ignored, path).toContain(`!${path}`);
  }
});

test('what is let through is copied: the builder gets nothing else', () => {
  expect(ignored[0]).toBe('*');
  expect(ignored.filter((line) => line.startsWith('!')).map((line) => line.slice(1)).sort()).toEqual([...new Set(copied)].sort());
});

test('the image runs as nobody, behind a process that reaps and hands on signals', () => {
  expect(instructions.findLast((line) => line.startsWith('USER '))).toBe('USER 65534:65534');
  expect(instructions.at(-1)).toBe('ENTRYPOINT ["/usr/bin/tini", "--", "dory"]');
});
