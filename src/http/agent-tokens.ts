import { Failure } from '../model/failure.ts';
import type { NodeId } from '../model/ids.ts';
import type { Authenticated, Authenticator } from '../platform/tokens.ts';
import type { Beat } from './heartbeat.ts';

/** What is asked of agents. */
export interface AgentTokens {
  readonly authenticator: Authenticator;
  /** Whether a beat without a token is refused. */
  readonly required: boolean;
}

/** No row has it: somewhere that is not an edge node. */
const nowhere = '00000000-0000-0000-0000-000000000000' as NodeId;

/**
 * The beat as its token proves it: from the token's node, or, with a token of the managed pool, from no edge node, whatever it names.
 * A wrong token is refused also where none is asked for: whoever sends one means to be known by it.
 * @throws Failure `unauthorized`, `forbidden`, and as `databaseFailure` maps it where nobody could be asked
 */
export async function proveBeat(beat: Beat, authorization: string | undefined, { authenticator, required }: AgentTokens): Promise<Beat> {
  // Of what a proxy adds, and is no token of ours, nothing is thought where none is asked for.
  if (!required && !/^bearer dory_/i.test(authorization ?? '')) return beat;
  const known = await authenticator.authenticate(authorization);
  if (known === null) {
    const why = authorization === undefined ? 'This takes the token of the node.' : 'The token is not valid: unknown, revoked or expired.';
    throw new Failure('unauthorized', why, { mend: 'Send it as `Authorization: Bearer …`; `dory node token create` makes one.' });
  }
  if (known.role !== 'node') throw new Failure('forbidden', 'The token of an operator speaks for no node.');
  if (known.nodeId === null) return { ...beat, nodeId: nowhere, nodeName: null, proven: true };
  assertSame(beat, known);
  return { ...beat, nodeId: known.nodeId, nodeName: null, proven: true };
}

function assertSame({ nodeId, nodeName }: Beat, known: Authenticated): void {
  if ((nodeId ?? known.nodeId) === known.nodeId && (nodeName ?? known.nodeName) === known.nodeName) return;
  throw new Failure('forbidden', `The token is that of ${known.nodeName ?? 'a node that is gone'}, and the heartbeat names another node.`);
}
