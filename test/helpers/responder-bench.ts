import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { systemRandom } from '#common/crypto/random.ts';
import { silentLog } from '#common/log/silent-log.ts';
import type { DeriveRequest, DeriveResponse } from '#gen/keyweave/v1/hybridizer.ts';
import type { BatchAnswer, BatchOffer } from '#gen/keyweave/v1/key_agreement.ts';
import type { EncapsulateRequest, EncapsulateResponse } from '#gen/keyweave/v1/pqc_source.ts';
import type { FetchKeysRequest, FetchKeysResponse } from '#gen/keyweave/v1/qkd_source.ts';
import { createHybridizerClient } from '../../services/gateway/clients/hybridizer-client.ts';
import { PqcSourceClient } from '../../services/gateway/clients/kem-client.ts';
import { createQkdClient } from '../../services/gateway/clients/qkd-client.ts';
import { ResponderProducer } from '../../services/gateway/production/responder/responder-producer.ts';
import {
  type ReceivedOffer,
  ResponderRound,
} from '../../services/gateway/production/responder/responder-round.ts';
import type { RoundTools } from '../../services/gateway/production/round-tools.ts';
import { Reservoirs } from '../../services/gateway/reservoirs/reservoirs.ts';
import { FakeClock } from './fake-clock.ts';
import { keyStream, qkdReference, type StreamChange } from './streams.ts';

/** What the services of a responder's node answer; whatever is not given is away. */
export interface ResponderServices {
  encapsulate?(request: EncapsulateRequest): Promise<EncapsulateResponse>;
  fetchKeys?(request: FetchKeysRequest): Promise<FetchKeysResponse>;
  derive(request: DeriveRequest): Promise<DeriveResponse>;
  seeds?: RoundTools['seeds'];
}

/** Rounds of the responder over the real clients, whose services are a test's. */
export class ResponderBench {
  readonly clock = new FakeClock();
  readonly tools: RoundTools;
  readonly reservoirs: Reservoirs;
  maxBatchChunks = 64;

  constructor({ encapsulate, fetchKeys, derive, seeds }: ResponderServices) {
    const qkdSource = {
      openQkd: async () => ({ qkdKeyStreamId: 'qkd' }),
      closeQkd: async () => ({}),
      fetchKeys,
    };
    this.tools = {
      kem: new PqcSourceClient({ encapsulate } as never, this.clock),
      hybridizer: createHybridizerClient({ derive } as never),
      seeds: seeds ?? { of: () => undefined },
      clock: this.clock,
    };
    this.reservoirs = new Reservoirs({
      ...{ qkd: createQkdClient(qkdSource as never, 1_000), clock: this.clock, log: silentLog },
      ...{ links: { to: () => assert.fail('a responder announces nothing') }, random: systemRandom },
      settings: {
        ...{ join: 'auto', block_keys: 1, sharing: 'link' },
        reservoir: { max_keys: 2_048, max_age: 60_000 },
        key_rate_bps: 0,
      },
    });
  }

  /** The responder's end of a stream of its own, and its producer. */
  producer(change: Omit<StreamChange<ResponderProducer>, 'producer' | 'role'> = {}): ResponderProducer {
    const { clock } = this;
    const log = silentLog;
    const link = { demand: async () => ({ buffered: 0, failure: undefined }) };
    return keyStream<ResponderProducer>({
      ...{ id: randomUUID(), clock, ...change, role: 'responder' },
      producer: (stream) => new ResponderProducer(stream, { clock, log, link, reservoirs: this.reservoirs }),
    }).producer;
  }

  /** What is answered, after so long as keys that do not come are waited for. */
  async answer(...offers: ReceivedOffer[]): Promise<BatchAnswer[]> {
    const { tools, maxBatchChunks } = this;
    const answers = new ResponderRound({ tools, maxBatchChunks, offers }).answer();
    await this.clock.advance(1_100);
    return answers;
  }
}

/** An offer of `count` chunks of a stream: whole, with all public keys of one byte, and QKD keys of its own reservoir. */
export function offerOf(
  { stream }: ResponderProducer,
  count: number,
  change: Partial<BatchOffer> = {},
): BatchOffer {
  const { slots } = stream.terms;
  return {
    keyStreamId: stream.idBytes,
    incarnation: stream.incarnation,
    firstIndex: 0,
    count,
    publicKeys: slots.flatMap(({ publicKeyBytes }, slot) =>
      publicKeyBytes > 0 ? [{ slot, publicKeys: Buffer.alloc(count * publicKeyBytes) }] : [],
    ),
    qkd: slots.some(({ algorithm }) => algorithm === 'QKD')
      ? qkdReference({ reservoir: stream.idBytes })
      : undefined,
    degradedSlot: 0,
    ...change,
  };
}
