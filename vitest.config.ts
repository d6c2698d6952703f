import { defineConfig } from 'vitest/config';

// For what hangs: no test is about time. On a machine that does much else they take ten times as long.
const patience = { testTimeout: 180_000, hookTimeout: 180_000, expect: { poll: { timeout: 60_000 } } };

/** Modules have no state, so that files can share them: to load cdk8s for each file took more than half of the time. Those with servers don't. */
const project = (name: string, folder: string) => ({
  test: { name, include: [`test/${folder}/**/*.test.ts`], environment: 'node' as const, isolate: false, ...patience },
});

export default defineConfig({
  test: {
    // Most tests wait for processes and sockets: a core each is not too many.
    maxWorkers: '100%',
    projects: [
      project('unit', 'unit'),
      project('property', 'properties'),
      project('scenario', 'scenarios'),
      project('simulation', 'simulation'),
      {
        test: {
          ...project('integration', 'integration').test,
          isolate: true,
          // One PostgreSQL server for the whole run; a database of its own for each test that asks for one.
          globalSetup: 'test/support/postgres-server.ts',
        },
      },
      {
        test: {
          ...project('cluster', 'cluster').test,
          isolate: true,
          globalSetup: ['test/support/postgres-server.ts', 'test/support/control-plane-setup.ts'],
          // A control plane takes both cores of a small machine while it starts.
          fileParallelism: false,
        },
      },
    ],
  },
});
