import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../src/platform/log.ts';

/** Starts a server in the folder that is given, prints its URL, and stops it on SIGINT. */
const [, , dataDir = ''] = process.argv;
const server = await startEmbeddedPostgres({ dataDir, log: silentLog });
process.once('SIGINT', () => {
  void server.stop().then(() => process.exit(0));
});
process.stdout.write(`${server.url}\n`);
