import { basename } from 'node:path';
import { byText } from '../model/ids.ts';
import type { FileChange } from '../model/tree.ts';
import type { Instant } from '../model/time.ts';
import type { Person } from './settings.ts';

/** A commit to be written: the parent's tree with these files changed. */
export interface CommitDraft {
  readonly parent: string | null;
  readonly author: Person;
  readonly committer: Person;
  /** Date of both: the same draft has the same id whenever it is written. */
  readonly at: Instant;
  readonly message: string;
  readonly files: readonly FileChange[];
}

/** Kept so that the objects of the newest commit are no garbage; nothing reads it. */
const scratchRef = 'refs/dory/next';

/** Of content held once more in memory while it is written: the first commit of a large fleet goes in several streams. */
const streamBytes = 16 * 2 ** 20;

/**
 * Input for `git fast-import`, one run each, in order; the last one writes the commit and prints its id. Each is made when it is
 * asked for, so that no more than one of them is held. Paths are strings of bytes (Latin-1), so that any name that a
 * person chose survives.
 */
export function* importStreams(draft: CommitDraft, limit = streamBytes): Generator<Buffer> {
  const references: Buffer[] = [];
  let waiting: Written[] = [];
  let room = limit;
  for (const { path, blob, content } of inOrder(draft.files)) {
    if (content.length > room && waiting.length > 0) {
      yield Buffer.concat([...waiting.flatMap((one) => [text('blob\n'), ...data(one.content)]), text('done\n')]);
      references.push(...waiting.map((one) => text(`M 100644 ${one.blob} ${quotedPath(one.path)}\n`)));
      waiting = [];
      room = limit;
    }
    waiting.push({ path, blob, content });
    room -= content.length;
  }
  yield Buffer.concat([
    ...header(draft),
    // First what goes: a file may stand where a folder comes.
    ...draft.files.filter(({ blob }) => blob === null).map(({ path }) => text(`D ${quotedPath(path)}\n`)),
    ...references,
    ...waiting.flatMap(({ path, content }) => [text(`M 100644 inline ${quotedPath(path)}\n`), ...data(content)]),
    text('get-mark :1\ndone\n'),
  ]);
}

interface Written {
  readonly path: string;
  readonly blob: string;
  readonly content: Uint8Array;
}

/** A first commit stores each file as its difference from the one before: those that begin alike are of one template. */
function* inOrder(files: readonly FileChange[]): Generator<Written> {
  const sorted = files.map((file) => ({ file, name: basename(file.path) })).sort((a, b) => byText(a.name, b.name) || byText(a.file.path, b.file.path));
  for (const { file } of sorted) {
    // Asked for once, and late: it may be made each time.
    const { path, blob, content } = file;
    if (blob === null) continue;
    if (content === null) throw new Error(`commit: ${path} has a blob and no content`);
    yield { path, blob, content };
  }
}

function header({ parent, author, committer, at, message }: CommitDraft): readonly Uint8Array[] {
  return [
    text(`commit ${scratchRef}\nmark :1\n`),
    person('author', author, at),
    person('committer', committer, at),
    ...data(Buffer.from(message)),
    text(parent === null ? '' : `from ${parent}\n`),
  ];
}

function person(role: string, { name, email }: Person, at: Instant): Buffer {
  return Buffer.from(`${role} ${name} <${email}> ${gitDate(at)}\n`);
}

/** Git's raw date: whole seconds, UTC. */
export function gitDate(at: Instant): string {
  return `${String(Math.floor(at / 1000))} +0000`;
}

function data(content: Uint8Array): readonly Uint8Array[] {
  return [text(`data ${String(content.length)}\n`), content, text('\n')];
}

function text(value: string): Buffer {
  return Buffer.from(value, 'latin1');
}

/** As git quotes paths in C's way: only names that people chose need it. */
function quotedPath(path: string): string {
  if (/^[\w./-]+$/.test(path)) return path;
  const escaped = Array.from(Buffer.from(path, 'latin1'), (byte) =>
    byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c ? `\\${byte.toString(8).padStart(3, '0')}` : String.fromCharCode(byte));
  return `"${escaped.join('')}"`;
}
