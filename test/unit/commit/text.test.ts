import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { importStreams, type CommitDraft } from '../../../src/commit/fast-import.ts';
import { applyDifferences, differences, parseDifferences } from '../../../src/commit/listing.ts';
import { BrokenClone, remoteFailure } from '../../../src/commit/outcome.ts';
import { plainText } from '../../../src/commit/plain-text.ts';
import { instant } from '../../../src/model/time.ts';
import { GitExit } from '../../../src/platform/git.ts';
import { file } from '../../support/git.ts';

const person = { name: 'dory', email: 'dory@localhost' };
const draft = (files: CommitDraft['files'], parent: string | null = null): CommitDraft => ({ parent, author: person, committer: person, at: instant(1_790_000_000_999), message: 'möve\n', files });
const texts = (streams: Iterable<Buffer>): readonly string[] => Array.from(streams, (stream) => stream.toString());

describe('the stream for fast-import', () => {
  test('counts bytes, and removes before it writes', () => {
    expect(texts(importStreams(draft([file('clusters/a/x', 'é'), file('clusters/a/old', null)], 'f'.repeat(40))))).toEqual([
      'commit refs/dory/next\nmark :1\nauthor dory <dory@localhost> 1790000000 +0000\ncommitter dory <dory@localhost> 1790000000 +0000\n'
      + `data 6\nmöve\n\nfrom ${'f'.repeat(40)}\nD clusters/a/old\nM 100644 inline clusters/a/x\ndata 2\né\nget-mark :1\ndone\n`,
    ]);
  });

  test('quotes names that people chose', () => {
    const [stream = ''] = texts(importStreams(draft([file(Buffer.from('clusters/a/"ü\n').toString('latin1'), null)])));
    expect(stream).toContain('\nD "clusters/a/\\042\\303\\274\\012"\n');
  });

  test('is split by size, and names the blobs that went before', () => {
    const files = ['a', 'b', 'c'].map((name) => file(`clusters/a/${name}`, name.repeat(10)));
    const streams = texts(importStreams(draft(files), 20));
    expect(streams).toHaveLength(2);
    expect(streams[0]).toBe('blob\ndata 10\naaaaaaaaaa\nblob\ndata 10\nbbbbbbbbbb\ndone\n');
    expect(streams[1]).toContain(`M 100644 ${String(files[0]?.blob)} clusters/a/a\n`);
    expect(streams[1]).toContain('M 100644 inline clusters/a/c\n');
  });

  test('of nothing but removals is one', () => {
    expect([...importStreams(draft([file('clusters/a/x', null)]))]).toHaveLength(1);
  });
});

describe('listings', () => {
  const blob = (digit: string): string => digit.repeat(40);

  test('are read from diff-tree, with odd modes in the name', () => {
    const raw = [`:000000 100644 ${blob('0')} ${blob('a')} A`, 'x', `:100644 000000 ${blob('a')} ${blob('0')} D`, 'y', `:100644 120000 ${blob('a')} ${blob('b')} T`, 'z', ''].join('\0');
    expect(parseDifferences(Buffer.from(raw))).toEqual(new Map([['x', blob('a')], ['y', null], ['z', `120000:${blob('b')}`]]));
    expect(parseDifferences(Buffer.alloc(0))).toEqual(new Map());
  });

  test('differ by what leads from one to the other', () => {
    const listing = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2')).map((found) => new Map(Object.entries(found)));
    fc.assert(fc.property(listing, listing, (from, to) => {
      const changed = differences(from, to);
      const result = new Map(from);
      applyDifferences(result, changed);
      expect(result).toEqual(to);
      expect([...changed].every(([path, value]) => (from.get(path) ?? null) !== value)).toBe(true);
    }));
  });
});

describe('what git said', () => {
  const said = (stderr: string): unknown => {
    const result = remoteFailure(new GitExit('fetch', { stdout: '', stderr, timedOut: false, killed: false }));
    return result instanceof BrokenClone ? 'broken' : result.code;
  };

  test.each([
    ["fatal: could not read Username for 'https://x': terminal prompts disabled", 'git-refused'],
    ['fatal: unable to access x: The requested URL returned error: 403', 'git-refused'],
    ["remote: Permission to o/r.git denied to robot.\nfatal: unable to access 'x'", 'git-refused'],
    ['Host key verification failed.\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.', 'git-refused'],
    ['git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.', 'git-refused'],
    ['fatal: unable to access x: SSL certificate problem: unable to get local issuer certificate', 'git-refused'],
    ['ssh: connect to host h port 22: Connection refused\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.', 'git-unreachable'],
    ["fatal: unable to access 'https://h/': Could not resolve host: h", 'git-unreachable'],
    ["fatal: '/srv/x.git' does not appear to be a git repository", 'git-unreachable'],
    ['fatal: unable to access x: The requested URL returned error: 502', 'git-unreachable'],
    ['remote: fatal: bad object HEAD\nfatal: the remote end hung up unexpectedly', 'git-unreachable'],
    ["error: cannot lock ref 'refs/dory/remote': Unable to create '/d/refs/dory/remote.lock': File exists.", 'broken'],
    ['fatal: bad object refs/dory/remote', 'broken'],
    ['error: file ./objects/pack/pack-1.pack is far too short to be a packfile\nfatal: pack-objects died', 'broken'],
    ['', 'git-unreachable'],
  ])('%j is %s', (stderr, expected) => {
    expect(said(stderr)).toBe(expected);
  });
});

test('plain text is one line of at most so many characters', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), fc.integer({ min: 1, max: 50 }), (text, limit) => {
    const plain = plainText(text, limit);
    expect(Array.from(plain).length).toBeLessThanOrEqual(limit);
    expect(plain).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]|\p{Surrogate}/u);
    expect(plainText(plain, limit)).toBe(plain);
  }));
  expect(plainText('Zähler 🐟 3', 20)).toBe('Zähler 🐟 3');
  expect(plainText('abcdef', 4)).toBe('abc…');
  expect(plainText('a\u202eb\u200bc', 9)).toBe('a�b�c');
});
