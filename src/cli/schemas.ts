import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { edgePaths } from '../http/edge-openapi.ts';
import { fleetJsonSchema } from '../observe/fleet-file-schema.ts';
import { openApiDocument } from '../operator/openapi.ts';
import { operations } from '../operator/registry.ts';
import { packageRoot } from '../platform/package-root.ts';
import { settingsJsonSchema } from '../platform/settings-schema.ts';

/** Writes what is published in `config/` of schemas and routes; `npm run regenerate` runs it, and CI fails on a difference. */
const schemas = { 'settings.schema.json': settingsJsonSchema(), 'fleet.schema.json': fleetJsonSchema(), 'openapi.json': openApiDocument(operations, edgePaths) };
for (const [name, schema] of Object.entries(schemas)) {
  await writeFile(join(packageRoot(), 'config', name), `${JSON.stringify(schema, null, 2)}\n`);
}
