import type { CallContext } from 'nice-grpc';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import { CallsUnderWay } from '#common/limits/calls-under-way.ts';
import type { AgreementMethod } from '#common/limits/message-limits.ts';
import type { KeyAgreementServiceImplementation } from '#gen/keyweave/v1/key_agreement.ts';

/** UUID of the node from which a call comes, as the own peer-broker has found it. @throws KeyweaveError NOT_ALLOWED */
export function peerOf(context: CallContext): string {
  const peer = context.metadata.get(PEER_METADATA);
  if (peer === undefined) throw new KeyweaveError('NOT_ALLOWED', 'the call names no peer node');
  return peer;
}

/**
 * Limits the calls of each peer that are being worked on. The broker limits
 * those under way, but what a peer cancels goes on here until it is done.
 */
export function boundedByPeer(service: KeyAgreementServiceImplementation): KeyAgreementServiceImplementation {
  const calls = new CallsUnderWay();
  function bounded<Q, R>(
    method: AgreementMethod,
    handler: (request: Q, context: CallContext) => Promise<R>,
  ): (request: Q, context: CallContext) => Promise<R> {
    return async (request, context) => calls.run(peerOf(context), method, () => handler(request, context));
  }
  return {
    open: bounded('open', service.open),
    join: bounded('join', service.join),
    produce: bounded('produce', service.produce),
    confirm: bounded('confirm', service.confirm),
    demand: bounded('demand', service.demand),
    close: bounded('close', service.close),
  };
}
