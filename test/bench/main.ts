import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus, loadavg } from 'node:os';
import { extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchNames, databasesOf, type BenchName } from './benches.ts';
import { startBenchServer, type BenchServer } from './database.ts';
import type { BenchRow } from './measure.ts';

/**
 * `npm run bench [-- --quick] [-- -o json] [-- name…]`: each benchmark in a process of its own, one after another, with databases
 * of its own on one server. A missed aim is told and fails nothing; a benchmark that breaks, or whose result is wrong, ends
 * this with 1.
 */
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, output: { type: 'string', short: 'o', default: 'table' } },
});
const unknown = positionals.filter((name) => !benchNames.some((known) => known === name));
if (unknown.length > 0) throw new Error(`no benchmark is called ${unknown.join(', ')}; there are ${benchNames.join(', ')}`);
const chosen = positionals.length === 0 ? benchNames : benchNames.filter((name) => positionals.includes(name));

const asTable = flags.output !== 'json';
const say = (line: string): void => {
  if (asTable) process.stdout.write(`${line}\n`);
};

const results: { readonly bench: BenchName; readonly seconds: number; readonly rows: readonly BenchRow[] }[] = [];
const server = await startBenchServer();
try {
  say(`Node ${process.version}, ${String(cpus().length)} × ${cpus()[0]?.model ?? 'unknown processor'}, load ${load()}${flags.quick ? ', --quick: sizes and figures mean nothing' : ''}`);
  for (const name of chosen) {
    const start = performance.now();
    const rows = await runBench(server, name);
    const seconds = Math.round((performance.now() - start) / 1000);
    results.push({ bench: name, seconds, rows });
    say(`\n${name}: ${String(seconds)} s, load ${load()}`);
    for (const row of rows) say(line(row));
  }
} finally {
  await server.stop();
}
if (!asTable) process.stdout.write(`${JSON.stringify({ node: process.version, quick: flags.quick, results }, null, 2)}\n`);

function load(): string {
  return loadavg().map((value) => value.toFixed(1)).join(' ');
}

function line({ name, value, unit, aim, ok }: BenchRow): string {
  const verdict = aim === '' || flags.quick ? '' : ok ? 'ok' : 'MISSED';
  return `  ${name.padEnd(74)} ${figure(value).padStart(9)} ${unit.padEnd(4)} ${aim.padEnd(8)} ${verdict}`.trimEnd();
}

function figure(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 });
}

/** In a process of its own, so that none pays for what another one left in memory. */
async function runBench(databases: BenchServer, name: BenchName): Promise<readonly BenchRow[]> {
  const names = Array.from({ length: databasesOf(name) }, (_, i) => `bench_${name}_${String(i)}`);
  const urls: string[] = [];
  for (const database of names) urls.push(await databases.create(database));
  const child = fork(join(import.meta.dirname, `child${extname(import.meta.filename)}`), [name, flags.quick ? 'quick' : 'full', ...urls]);
  const rows: BenchRow[] = [];
  child.on('message', (sent) => { rows.push(...(sent as readonly BenchRow[])); });
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  for (const database of names) await databases.drop(database);
  if (code !== 0) throw new Error(`${name} ended with ${String(code ?? signal)}`);
  return rows;
}
