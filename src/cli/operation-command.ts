import { Argument, Option, type Command } from 'commander';
import type { z } from 'zod';
import type { Snapshot } from '../model/snapshot.ts';
import { systemClock } from '../platform/clock.ts';
import type { Settings } from '../platform/settings-schema.ts';
import { descriptionOf, fromTexts, kindOf, parseInput, type RawInput } from '../operator/input.ts';
import { runOperation, type Operation } from '../operator/operation.ts';
import { accountName } from './account.ts';
import type { CliContext } from './context.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { fleetFileSnapshot } from './fleet-file.ts';
import { operatorContext } from './operator-context.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { painter, render, type Column, type Format, type Paint } from './output.ts';
import { settingsOf, withRuntime } from './runtime.ts';
import { askServer, serverOf, type Server, type ServerFlags } from './server-client.ts';
import { untilStopped } from './until-stopped.ts';
import { watchList, watchPage, type Watch } from './watch.ts';

/** An operation as a command: named as it is, with the members of its input as flags. */
interface CommandBase<Input extends z.ZodObject, Output extends z.ZodType> {
  readonly operation: Operation<Input, Output>;
  /** Members of the input that are given without a flag, in this order. */
  readonly positional?: readonly (keyof z.input<Input> & string)[];
  /** More for `--help`, above the examples. */
  readonly details?: string;
  /** Without `dory `. At least one. */
  readonly examples: readonly string[];
  readonly exit?: (output: z.output<Output>) => ExitCode;
  /** Flags beside the members of the input, and the members that they stand for. */
  readonly options?: (command: Command) => unknown;
  readonly input?: (flags: RawInput) => RawInput;
  /** `--fleet FILE`: the same on a fleet that was written down, with no database. */
  readonly fleet?: (snapshot: Snapshot, input: z.output<Input>, settings: Settings) => z.output<Output>;
}

/** What prints as a page. */
interface PageCommand<Input extends z.ZodObject, Output extends z.ZodType> extends CommandBase<Input, Output> {
  readonly page: (output: z.output<Output>, format: 'table' | 'wide', paint: Paint) => string;
  /** `-w` prints the page again when this changes: leave out what changes with every look. */
  readonly watched?: (output: z.output<Output>) => unknown;
}

/** What prints as a table: an operation whose output is a page of items. All pages are printed, up to `--limit`; of what comes newest first, 50 items. */
interface ListCommand<Input extends z.ZodObject, Item> extends CommandBase<Input, z.ZodType<{ items: Item[]; continue: string | null }>> {
  readonly columns: readonly Column<Item>[];
  /** `-w` prints a row again when its `state` changes: leave out ages. */
  readonly watched?: { readonly key: (item: Item) => string; readonly state: (item: Item) => unknown; readonly newestFirst?: boolean };
}

type OperationFlags = FormatFlags & ServerFlags & { readonly by?: string; readonly watch?: true; readonly fleet?: string } & RawInput;

/** Where an operation is run: on the server, or here on the database. */
type Ask = (input: RawInput) => Promise<unknown>;

export function pageCommand<Input extends z.ZodObject, Output extends z.ZodType>(program: Command, context: CliContext, page: PageCommand<Input, Output>): Command {
  const paint = painter(context.terminal.color);
  const print = (output: z.output<Output>, format: Format): string =>
    format === 'table' || format === 'wide' ? page.page(output, format, paint) : render(format, output, [], []);
  return operationCommand(program, context, page, async (ask, input, flags) => {
    const { watched } = page;
    const look = async (): Promise<z.output<Output>> => (await ask(input)) as z.output<Output>;
    if (flags.watch === true && watched !== undefined) {
      await watchPage(watchOf(context), look, { watched, print: (output) => print(output, flags.output) });
      return;
    }
    const output = await look();
    context.terminal.out(print(output, flags.output));
    context.exit(page.exit?.(output) ?? exitCodes.ok);
  });
}

export function listCommand<Input extends z.ZodObject, Item>(program: Command, context: CliContext, list: ListCommand<Input, Item>): Command {
  // Nobody asks for all that ever happened.
  const defaults = list.watched?.newestFirst === true ? { limit: 50 } : {};
  return operationCommand(program, context, { ...list, defaults }, async (ask, input, flags) => {
    const { watched, columns } = list;
    const look = (): Promise<Item[]> => allPages(ask, input);
    if (flags.watch === true && watched !== undefined) {
      await watchList(watchOf(context), look, { ...watched, columns, format: flags.output });
      return;
    }
    const items = await look();
    // As kubectl does: who counts lines, or takes words from them, gets none.
    if (items.length === 0 && (flags.output === 'table' || flags.output === 'wide')) context.terminal.err('No resources found.\n');
    else context.terminal.out(render(flags.output, items, columns, items));
    context.exit(list.exit?.({ items, continue: null }) ?? exitCodes.ok);
  });
}

const watchOf = ({ signal, terminal: { out } }: CliContext): Watch => ({ clock: systemClock, signal, out });

/** The most that one page may have. */
const largestPage = 1000;

function firstPage(input: RawInput): RawInput {
  const { limit } = input;
  return typeof limit === 'number' ? { ...input, limit: Math.min(limit, largestPage) } : input;
}

async function allPages<Item>(ask: Ask, input: RawInput): Promise<Item[]> {
  const wanted = typeof input['limit'] === 'number' ? input['limit'] : Number.POSITIVE_INFINITY;
  const items: Item[] = [];
  let from: string | null = null;
  do {
    const limit = Math.min(wanted - items.length, largestPage);
    const page = (await ask({ ...input, limit, ...(from === null ? {} : { continue: from }) })) as { readonly items: Item[]; readonly continue: string | null };
    items.push(...page.items);
    from = page.continue;
  } while (from !== null && items.length < wanted);
  return items;
}

type Act = (ask: Ask, input: RawInput, flags: OperationFlags) => Promise<void>;

function operationCommand<Input extends z.ZodObject, Output extends z.ZodType>(
  program: Command, context: CliContext, given: CommandBase<Input, Output> & { readonly watched?: unknown; readonly defaults?: RawInput }, act: Act,
): Command {
  const { operation, positional = [], details, examples, defaults = {} } = given;
  const command = commandAt(program, operation.name).description(operation.summary);
  for (const name of positional) command.addArgument(argumentOf(operation.input, name));
  for (const name of Object.keys(operation.input.shape)) {
    if (!positional.includes(name) && name !== 'continue') command.addOption(optionOf(operation.input, name).default(defaults[name]));
  }
  given.options?.(command);
  formatOption(command);
  if (given.watched !== undefined) command.option('-w, --watch', 'go on, and print what changes; looks every 2 s');
  if (operation.changesState) command.option('--by <name>', 'who does it; a server knows by the token', accountName());
  command.option('--server <url>', 'ask this server instead of the database (DORY_SERVER); the token comes from DORY_TOKEN');
  command.option('--token-file <file>', 'file with the token for the server (DORY_TOKEN_FILE)');
  if (given.fleet !== undefined) command.option('--fleet <file>', 'a fleet file instead of the database');
  command.addHelpText('after', `${details === undefined ? '' : `\n${details}\n`}${examplesHelp(examples)}`);
  return settingsOptions(command).action(async () => {
    const flags: OperationFlags = command.opts();
    const input = { ...given.input?.(flags), ...inputOf(operation.input, positional, command.processedArgs, flags) };
    // Before anything is opened.
    parseInput(operation.input, firstPage(input));
    const answered = ask(context, command, given, (asked) => act(asked, input, flags));
    // What watches ends by itself; who waits for an answer waits no longer.
    await (flags.watch === true ? answered : untilStopped(context.signal, answered));
  });
}

/** On a fleet file, on a server, or on the database, as the flags say. */
async function ask<Input extends z.ZodObject, Output extends z.ZodType>(
  context: CliContext, command: Command, { operation, fleet }: Pick<CommandBase<Input, Output>, 'operation' | 'fleet'>, use: (ask: Ask) => Promise<void>,
): Promise<void> {
  const flags = command.opts<ServerFlags & { readonly fleet?: string }>();
  if (fleet !== undefined && flags.fleet !== undefined) return onFleetFile(context, command, { operation, fleet }, use);
  const server = await serverOf(context, flags);
  return server === null ? onDatabase(context, command, operation, use) : use(onServer(server, operation, command));
}

async function onDatabase(context: CliContext, command: Command, operation: Operation, use: (ask: Ask) => Promise<void>): Promise<void> {
  const { by = '' } = command.opts<{ by?: string }>();
  await withRuntime(context, command, 'require', async (runtime) => {
    const operator = operatorContext(runtime);
    await use((input) => runOperation(operator, operation, input, { name: by }));
  });
}

async function onFleetFile<Input extends z.ZodObject, Output extends z.ZodType>(
  context: CliContext, command: Command, { operation, fleet }: Required<Pick<CommandBase<Input, Output>, 'operation' | 'fleet'>>, use: (ask: Ask) => Promise<void>,
): Promise<void> {
  const settings = await settingsOf(context, command);
  const snapshot = await fleetFileSnapshot(context, settings, command.opts<{ fleet: string }>().fleet);
  await use(async (input) => Promise.resolve(fleet(snapshot, parseInput(operation.input, input), settings)));
}

function onServer(server: Server, operation: Operation, command: Command): Ask {
  if (command.getOptionValueSource('by') === 'cli') command.error('error: --by goes with the database; a server knows by the token who asks');
  return (input) => askServer(server, operation, input);
}

/** A command that only holds others: `dory maintenance`, `dory node token`. */
export function groupCommand(program: Command, words: string, description: string, examples: readonly string[]): void {
  commandAt(program, words.replaceAll(' ', '.')).description(description).addHelpText('after', examplesHelp(examples));
}

/** `maintenance.begin`: the command `begin` of the group `maintenance`. */
function commandAt(program: Command, name: string): Command {
  const names = name.split('.');
  const last = names.pop() ?? '';
  const group = names.reduce((above, word) => {
    const next = above.commands.find((command) => command.name() === word);
    if (next === undefined) throw new Error(`the command ${name} belongs to a group that is not there`);
    return next.enablePositionalOptions();
  }, program);
  return group.command(last).copyInheritedSettings(program);
}

function examplesHelp(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  dory ${example}`).join('\n')}`;
}

const words = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

interface Member {
  readonly description: string;
  readonly required: boolean;
  /** What it is where it is not given; undefined where that says something of its own. */
  readonly fallback: unknown;
}

function describe(schema: z.ZodObject, name: string): Member {
  const member = schema.shape[name] as z.ZodType;
  const absent = member.safeParse(undefined);
  return { description: descriptionOf(schema, name), required: !absent.success, fallback: absent.data };
}

function argumentOf(schema: z.ZodObject, name: string): Argument {
  const { description, required } = describe(schema, name);
  const shown = `${words(name)}${kindOf(schema, name) === 'array' ? '...' : ''}`;
  return new Argument(required ? `<${shown}>` : `[${shown}]`, description);
}

function optionOf(schema: z.ZodObject, name: string): Option {
  const { description, required, fallback } = describe(schema, name);
  // A switch can only be switched on.
  const value = kindOf(schema, name) === 'boolean' && fallback === false ? '' : ' <value>';
  return new Option(`--${words(name)}${value}`, description).makeOptionMandatory(required);
}

/** What was given, and nothing else: defaults are the operation's. */
function inputOf(schema: z.ZodObject, positional: readonly string[], args: readonly unknown[], flags: RawInput): RawInput {
  const given = Object.keys(schema.shape).map((name) => [name, positional.includes(name) ? args[positional.indexOf(name)] : flags[name]] as const);
  return fromTexts(schema, Object.fromEntries(given.filter(([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0))));
}
