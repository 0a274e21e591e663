import { uuidText } from '#common/ids/uuid.ts';
import type { Tracing } from '#common/telemetry/tracing.ts';
import type { KeyAgreementServiceImplementation } from '#gen/keyweave/v1/key_agreement.ts';
import type { TracedBatches } from './traced-batches.ts';

/** Ties batches to the traced requests of the other node that have asked for them. */
export function tracedAgreement(
  inner: KeyAgreementServiceImplementation,
  tracing: Pick<Tracing, 'active'>,
  batches: Pick<TracedBatches, 'wanted'>,
): KeyAgreementServiceImplementation {
  return {
    ...inner,
    demand: async (request, context) => {
      const cause = tracing.active();
      const response = await inner.demand(request, context);
      if (!cause) return response;
      request.demands.forEach(({ keyStreamId }, i) => {
        // What is refused is of no stream of this peer, maybe of none at all.
        const isTaken = response.answers?.[i]?.failure === undefined;
        if (isTaken) batches.wanted(uuidText('key_stream_id', keyStreamId), cause);
      });
      return response;
    },
  };
}
