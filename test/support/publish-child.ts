import { openRepository } from '../../src/commit/repository.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import type { GitSettings } from '../../src/commit/settings.ts';
import { request } from './git.ts';

/** Publishes revision 2, with settings given as JSON, and is killed on the way by the git that it finds. */
const settings = JSON.parse(process.argv[2] ?? '') as GitSettings;
const repository = openRepository(settings, { clock: systemClock, random: systemRandom, log: silentLog });
await repository.publish(request(2, { a: '2', b: '2' }));
process.stdout.write('published\n');
