import { createHash, hash } from 'node:crypto';
import type { Digest } from '../model/ids.ts';

/**
 * JSON with the keys of every object in code-unit order, so that equal values have equal texts.
 * `undefined` members are left out, as `JSON.stringify` does.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  // By hand, and in code-unit order as `sort` has it: every object of the fleet comes by here.
  let members = '';
  for (const key of Object.keys(value).sort()) {
    const member = (value as Readonly<Record<string, unknown>>)[key];
    if (member !== undefined) members += `${members === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(member)}`;
  }
  return `{${members}}`;
}

/** Hex SHA-256 of a text. */
export function digestText(text: string): Digest {
  return hash('sha256', text, 'hex') as Digest;
}

/** Hex SHA-256 of a value's canonical JSON. */
export function digestOf(value: unknown): Digest {
  return digestText(canonicalJson(value));
}

/** Git's name for a file's content in a SHA-1 repository. */
export function blobName(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${String(content.length)}\0`).update(content).digest('hex');
}
