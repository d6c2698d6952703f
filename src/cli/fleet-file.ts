import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Failure } from '../model/failure.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { parseFleetFile } from '../observe/fleet-file.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { CliContext } from './context.ts';
import { observeSettings } from './policy.ts';

/** @throws Failure `fleet-file-invalid` if the file can't be read, or not be understood. */
export async function fleetFileSnapshot({ cwd }: CliContext, settings: Settings, file: string): Promise<Snapshot> {
  return parseFleetFile(await readText(resolve(cwd, file)), observeSettings(settings));
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new Failure('fleet-file-invalid', `The fleet file can't be read: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  }
}
