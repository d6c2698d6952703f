import { z } from 'zod';
import { whyNoNode } from '../apply/karpenter.ts';
import { Failure } from '../model/failure.ts';
import type { OperatorContext } from './operation.ts';

export const capacitySchema = z.array(z.string()).describe('What keeps pods of the managed pool without a node, as Karpenter shows it; empty if none waits, if nothing is known to be wrong, or without Karpenter.');

/** Whoever asks wants to know the rest too, whether or not the cluster answers. `processorId` null: of all. */
export async function capacityOf(context: OperatorContext, processorId: string | null): Promise<string[]> {
  try {
    return [...(await context.withKube(async (client) => (client === null ? [] : whyNoNode(client, processorId))))];
  } catch (error) {
    if (error instanceof Failure) return [`it is not known what Karpenter does: ${error.message}`];
    throw error;
  }
}
