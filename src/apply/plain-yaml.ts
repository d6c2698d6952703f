import { parseDocument } from 'yaml';
import { Failure } from '../model/failure.ts';

/**
 * The value of one YAML document. What our own renderer prints (block style, indented by two, plain or double-quoted scalars) is
 * read some 30 times faster than by a parser of all of YAML, and 50,000 documents are compared after each start. Whatever
 * else stands there goes through that parser.
 *
 * @throws Failure `render-invalid` if it is no YAML
 */
export function parseManifest(text: string, path: string): unknown {
  const plain = parsePlain(text);
  if (plain !== undefined) return plain;
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error === undefined) return document.toJS({ maxAliasCount: 0 });
  throw new Failure('render-invalid', `${path} is no YAML: ${error.message.split('\n')[0] ?? ''}`, {
    mend: 'Somebody else wrote this file: undo the commit, or let it be undone with `dory approve foreign-edit --reason …`.',
    cause: error,
  });
}

/** A place in the lines of a document. */
interface Cursor {
  readonly lines: readonly string[];
  at: number;
}

/** Anything that this reader does not know. */
class NotPlain extends Error {}

/** Undefined: it is not of the form that our renderer prints. */
export function parsePlain(text: string): unknown {
  if (!text.endsWith('\n')) return undefined;
  const cursor: Cursor = { lines: text.slice(0, -1).split('\n'), at: 0 };
  try {
    const value = readMap(cursor, 0);
    return cursor.at === cursor.lines.length ? value : undefined;
  } catch (error) {
    if (error instanceof NotPlain) return undefined;
    throw error;
  }
}

function indentOf(line: string): number {
  let n = 0;
  while (line.charCodeAt(n) === 32) n += 1;
  return n;
}

/** `key:` or `key: value`, from `column` on. A first entry may stand behind the dash of its item. */
function readMap(cursor: Cursor, column: number, first: string | null = null): Record<string, unknown> {
  // No prototype: a key may be called __proto__.
  const map = Object.create(null) as Record<string, unknown>;
  let entry = first ?? entryAt(cursor, column);
  while (entry !== null) {
    const end = keyEnd(entry);
    const key = scalar(entry.slice(0, end));
    if (typeof key !== 'string' || key in map) throw new NotPlain();
    cursor.at += 1;
    map[key] = end + 1 === entry.length ? readBlock(cursor, column) : scalar(entry.slice(end + 2));
    entry = entryAt(cursor, column);
  }
  return { ...map };
}

/** The rest of the line that begins at `column`; null where the block ends. */
function entryAt({ lines, at }: Cursor, column: number): string | null {
  const line = lines[at];
  if (line === undefined) return null;
  const indent = indentOf(line);
  if (indent > column || indent === line.length) throw new NotPlain();
  return indent < column ? null : line.slice(column);
}

function keyEnd(entry: string): number {
  const from = entry.startsWith('"') ? entry.indexOf('"', 1) : 0;
  const end = entry.indexOf(':', from);
  if (from === -1 || end <= 0 || entry.startsWith('- ') || (end + 1 < entry.length && (entry[end + 1] !== ' ' || end + 2 === entry.length))) throw new NotPlain();
  return end;
}

/** What stands below a key: a map or a list, further in. A key with nothing is null, which our renderer does not print. */
function readBlock(cursor: Cursor, column: number): unknown {
  const line = cursor.lines[cursor.at];
  if (line === undefined || indentOf(line) !== column + 2) throw new NotPlain();
  return line.startsWith('- ', column + 2) ? readList(cursor, column + 2) : readMap(cursor, column + 2);
}

function readList(cursor: Cursor, column: number): unknown[] {
  const items: unknown[] = [];
  for (let entry = entryAt(cursor, column); entry !== null; entry = entryAt(cursor, column)) {
    if (!entry.startsWith('- ')) throw new NotPlain();
    const rest = entry.slice(2);
    if (isEntry(rest)) items.push(readMap(cursor, column + 2, rest));
    else {
      cursor.at += 1;
      items.push(scalar(rest));
    }
  }
  return items;
}

/** Whether an item is a map, whose first key stands behind the dash. */
function isEntry(text: string): boolean {
  return /^(?:"[^"\\]*"|[^\s"'[\]{}#&*!|>%@`,?:-][^\s:]*):(?: |$)/.test(text);
}

/** What YAML's core schema takes for something else than text, but for the values that `scalar` knows. */
const notText = /^(?:[-+]?\d+|0o[0-7]+|0x[\da-f]+|[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:e[-+]?\d+)?|[-+]?\.inf|\.nan|~|null|true|false)$/i;
/** Begins with nothing that YAML gives a meaning, and holds neither `: ` nor ` #`. */
const plainText = /^(?:[A-Za-z0-9_./$(+=~^;<\\]|-(?! ))(?:[^:#\t]|:(?! )|(?<! )#)*$/;

function scalar(text: string): unknown {
  switch (text) {
    case 'true': return true;
    case 'false': return false;
    case '{}': return {};
    case '[]': return [];
    default:
  }
  if (text.startsWith('"')) return quoted(text);
  if (/^(?:0|-?[1-9]\d{0,14})$/.test(text)) return Number(text);
  if (notText.test(text) || !plainText.test(text) || /[\s:]$/.test(text) || text === '-') throw new NotPlain();
  return text;
}

/** In double quotes the renderer escapes as JSON does. */
function quoted(text: string): string {
  if (/\\[^"\\/bfnrtu]/.test(text)) throw new NotPlain();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'string') return value;
  } catch {
    // Left to the parser of all of YAML, which says what is wrong.
  }
  throw new NotPlain();
}
