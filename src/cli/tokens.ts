import type { Command } from 'commander';
import { nodeTokenCreate, nodeTokenList, nodeTokenRevoke, nodeTokenRotate, tokenCreate, tokenList, tokenRevoke, tokenRotate, type TokenRecord } from '../operator/tokens.ts';
import type { CliContext } from './context.ts';
import { groupCommand, listCommand, pageCommand } from './operation-command.ts';
import { printable, type Column } from './output.ts';

const columns: readonly Column<TokenRecord>[] = [
  { header: 'ID', of: ({ id }) => id },
  { header: 'NAME', of: ({ name }) => name },
  { header: 'BY', of: ({ by }) => by },
  { header: 'CREATED', of: ({ created }) => created },
  { header: 'EXPIRES', of: ({ expires }) => expires ?? '' },
  { header: 'LAST USED', of: ({ lastUsed }) => lastUsed ?? '' },
];

/** Alone on its line, so that it can be taken from a pipe. */
const secret = ({ token }: { readonly token: string }): string => `${token}\n`;
const revoked = ({ name, id }: TokenRecord): string => `revoked ${printable(name)} (${id})\n`;
const id = '0192f3c4-5d6e-7f80-8a9b-0c1d2e3f4a5b';

export function tokenCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'token', 'tokens with which operators use the HTTP API', ['token create ada --reason "on call"', 'token list']);
  pageCommand(program, context, {
    operation: tokenCreate,
    positional: ['name'],
    details: 'Prints the token and nothing else; it can not be had again.',
    examples: ['token create ada --reason "on call" > token', 'leader --server https://dory.example.com --token-file token'],
    page: secret,
  });
  pageCommand(program, context, { operation: tokenRotate, positional: ['token'], examples: [`token rotate ${id} --grace 1h --reason "every quarter"`], page: secret });
  pageCommand(program, context, { operation: tokenRevoke, positional: ['token'], examples: [`token revoke ${id} --reason "left the team"`], page: revoked });
  listCommand(program, context, { operation: tokenList, columns, examples: ['token list'] });
}

export function nodeTokenCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'node token', 'tokens with which agents speak for their node', ['node token create yard-edge-3 --reason "new machine"']);
  pageCommand(program, context, {
    operation: nodeTokenCreate,
    positional: ['node'],
    details: 'Prints the token and nothing else; it can not be had again. Whether agents must send one is the setting heartbeats.requireToken.',
    examples: ['node token create yard-edge-3 --reason "new machine" > token'],
    page: secret,
  });
  pageCommand(program, context, { operation: nodeTokenRotate, positional: ['token'], examples: [`node token rotate ${id} --grace 48h --reason "every quarter"`], page: secret });
  pageCommand(program, context, { operation: nodeTokenRevoke, positional: ['token'], examples: [`node token revoke ${id} --reason "stolen"`], page: revoked });
  listCommand(program, context, { operation: nodeTokenList, columns, examples: ['node token list'] });
}
