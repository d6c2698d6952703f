import { defineConfig } from 'vitest/config';

const project = (name: string, folder: string) => ({
  test: { name, include: [`test/${folder}/**/*.test.ts`], environment: 'node' as const },
});

export default defineConfig({
  test: {
    // Most tests wait for processes and sockets: a core each is not too many.
    maxWorkers: '100%',
    projects: [
      project('unit', 'unit'),
      project('property', 'properties'),
      project('scenario', 'scenarios'),
      {
        test: {
          ...project('integration', 'integration').test,
          // One PostgreSQL server for the whole run; a database of its own for each test that asks for one.
          globalSetup: 'test/support/postgres-server.ts',
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
    ],
  },
});
