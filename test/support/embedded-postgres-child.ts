import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../src/platform/log.ts';

/** Starts a server in the folder that is given, `ephemeral` or not, and prints its URL. On SIGINT it works a little more, then stops. */
const [, , dataDir = '', lifetime] = process.argv;
const server = await startEmbeddedPostgres({ dataDir, log: silentLog, ephemeral: lifetime === 'ephemeral' });
const client = new pg.Client({ connectionString: server.url });
await client.connect();

async function finish(): Promise<void> {
  // A quarter of a second, in which a server that had got the signal as well would have ended the connection.
  await client.query('select pg_sleep(0.25)');
  await client.end();
  await server.stop();
  process.exit(0);
}
process.once('SIGINT', () => void finish());
process.stdout.write(`${server.url}\n`);
