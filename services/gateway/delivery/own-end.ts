import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/** Which of the two ends of a stream is this node's; where both are, the source. @throws KeyweaveError NO_ROUTE where neither is */
export function ownEnd(
  { sourceNode, destinationNode }: { readonly sourceNode: string; readonly destinationNode: string },
  nodeUuid: string,
): 'source' | 'destination' {
  if (sourceNode === nodeUuid) return 'source';
  if (destinationNode === nodeUuid) return 'destination';
  throw new KeyweaveError('NO_ROUTE', `neither source nor destination names this node, which is ${nodeUuid}`);
}
