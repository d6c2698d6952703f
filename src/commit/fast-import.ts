import { extname } from 'node:path';
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
 * Input for `git fast-import`, one run each, in order; the last one writes the commit and prints its id. Paths are
 * strings of bytes (Latin-1), so that any name that a person chose survives.
 */
export function importStreams(draft: CommitDraft, limit = streamBytes): readonly Buffer[] {
  const parts = inParts(draft.files, limit);
  const last = parts.pop() ?? [];
  const removed = draft.files.filter(({ blob }) => blob === null);
  return [
    ...parts.map((files) => Buffer.concat([...files.flatMap(({ content }) => [text('blob\n'), ...data(content)]), text('done\n')])),
    Buffer.concat([
      ...header(draft),
      // First what goes: a file may stand where a folder comes.
      ...removed.map(({ path }) => text(`D ${quotedPath(path)}\n`)),
      ...parts.flat().map(({ path, blob }) => text(`M 100644 ${blob} ${quotedPath(path)}\n`)),
      ...last.flatMap(({ path, content }) => [text(`M 100644 inline ${quotedPath(path)}\n`), ...data(content)]),
      text('get-mark :1\ndone\n'),
    ]),
  ];
}

interface Written {
  readonly path: string;
  readonly blob: string;
  readonly content: Uint8Array;
}

function inParts(files: readonly FileChange[], limit: number): Written[][] {
  const parts: Written[][] = [];
  let room = 0;
  for (const { path, blob, content } of files.flatMap(written).sort(alike)) {
    if (parts.length === 0 || content.length > room) {
      parts.push([]);
      room = limit;
    }
    parts.at(-1)?.push({ path, blob, content });
    room -= content.length;
  }
  return parts;
}

function written({ path, blob, content }: FileChange): readonly Written[] {
  if (blob === null) return [];
  if (content === null) throw new Error(`commit: ${path} has a blob and no content`);
  return [{ path, blob, content }];
}

/** A first commit stores each file as its difference from the one before: manifests of a size are mostly of one template. */
function alike(a: Written, b: Written): number {
  return byText(extname(a.path), extname(b.path)) || a.content.length - b.content.length || byText(a.path, b.path);
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
