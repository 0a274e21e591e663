import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { shortKsid } from '#common/ids/short-ksid.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import type { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { StreamTerms } from '../streams/stream-terms.ts';
import { meetQos, type QosLimits } from './qos.ts';

/**
 * A repeated offer says what the first one said: nothing of a stream that is
 * there changes by it.
 *
 * @throws KeyweaveError AGREEMENT_FAILED naming what differs.
 */
export function assertRepeated(
  stream: KeyStream,
  request: OpenRequest,
  terms: StreamTerms,
  limits: QosLimits,
): void {
  const what = difference(stream, request, terms, limits);
  if (what === undefined) return;
  throw new KeyweaveError(
    'AGREEMENT_FAILED',
    `the offer of key_stream_id ${shortKsid(stream.id)}… is repeated with another ${what}`,
  );
}

function difference(
  stream: KeyStream,
  request: OpenRequest,
  terms: StreamTerms,
  limits: QosLimits,
): string | undefined {
  if (terms.method.name !== stream.terms.method.name) return 'method';
  const names = (slots: StreamTerms['slots']) => slots.map(({ algorithm }) => algorithm).join();
  if (names(terms.slots) !== names(stream.terms.slots)) return 'list of sources';
  if (request.predefined !== stream.predefined) return 'value of predefined';
  if (!request.qos) return 'QoS';
  const met = meetQos(request.qos, terms, limits);
  return (Object.keys(met) as (keyof Qos)[]).some((name) => met[name] !== stream.qos[name])
    ? 'QoS'
    : undefined;
}
