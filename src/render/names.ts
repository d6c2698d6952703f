import type { Epoch, ProcessorId } from '../model/ids.ts';
import { digestText } from '../platform/digest.ts';

/** Of the slug in a name: with `-`, 12 digits, `-e` and an epoch below ten million it stays within 52 characters. */
const slugLength = 30;

/** Hex SHA-256 of the id: ids may be UUIDv7, whose first digits are a clock and would put neighbours in one folder. */
export function processorHash(id: ProcessorId): string {
  return digestText(id);
}

/** `<slug>-<id12>`: the file's name, and the start of the names of all of the processor's StatefulSets. */
export function processorStem(slug: string, hash: string): string {
  // Joined, so that it is kept as one text and not as a list of its parts: there is one for each processor.
  return [slug.slice(0, slugLength).replace(/-+$/, ''), hash.slice(0, 12)].join('-');
}

/** The StatefulSet of one placement; its pod has `-0` behind it. */
export function placementName(stem: string, epoch: Epoch): string {
  return `${stem}-e${String(epoch)}`;
}
