import { run, type BenchName } from './benches.ts';
import { fullSize, quickSize } from './measure.ts';

/** One benchmark. Arguments: its name, `full` or `quick`, and the databases that it asked for. Sends its rows to its parent. */
const [name, size, ...urls] = process.argv.slice(2);
const rows = await run(name as BenchName, size === 'quick' ? quickSize : fullSize, urls);
process.send?.(rows, () => { process.disconnect(); });
