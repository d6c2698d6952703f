import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../src/platform/log.ts';

/** Starts a server in the folder that is given, `ephemeral` or not, prints its URL, and stops it on SIGINT. */
const [, , dataDir = '', lifetime] = process.argv;
const server = await startEmbeddedPostgres({ dataDir, log: silentLog, ephemeral: lifetime === 'ephemeral' });
process.once('SIGINT', () => {
  void server.stop().then(() => process.exit(0));
});
process.stdout.write(`${server.url}\n`);
