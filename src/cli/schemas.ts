import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fleetJsonSchema } from '../observe/fleet-file-schema.ts';
import { packageRoot } from '../platform/package-root.ts';
import { settingsJsonSchema } from '../platform/settings-schema.ts';

/** Writes the JSON schemas that are published in `config/`; `npm run regenerate` runs it, and CI fails on a difference. */
const schemas = { 'settings.schema.json': settingsJsonSchema(), 'fleet.schema.json': fleetJsonSchema() };
for (const [name, schema] of Object.entries(schemas)) {
  await writeFile(join(packageRoot(), 'config', name), `${JSON.stringify(schema, null, 2)}\n`);
}
