import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { GetKeysRequest, ListStreamsRequest, OpenConnectRequest } from '#gen/keyweave/v1/key_delivery.ts';
import { readCount, readOpen, readPageSize } from '../../services/gateway/frontends/grpc/requests.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const UUID_A = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const UUID_B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const KSID = '11111111-1111-4111-8111-111111111111';

const SOUND = [
  OpenConnectRequest.encode(
    OpenConnectRequest.fromPartial({
      ...{ source: `hybrid://a@${UUID_A}`, destination: `hybrid://b@${UUID_B}`, keyStreamId: KSID },
      peerNode: UUID_B.toUpperCase(),
      qos: { keyChunkSize: 32, metadataMimetype: 'application/json', timeoutMs: 1 },
    }),
  ).finish(),
  GetKeysRequest.encode(GetKeysRequest.fromPartial({ keyStreamId: KSID, index: 7, maxKeys: 256 })).finish(),
  ListStreamsRequest.encode(ListStreamsRequest.fromPartial({ pageSize: 1_000, pageToken: KSID })).finish(),
].map((bytes) => Buffer.from(bytes));
const NASTY = corpus('grpc-messages', 'hex');

/** The message, where the transport would hand one on. */
function decoded<T>(type: { decode(bytes: Uint8Array): T }, bytes: Buffer): T | undefined {
  try {
    return type.decode(bytes);
  } catch {
    return undefined;
  }
}

describe('requests of the gRPC API', () => {
  it('are read within their limits, or refused', () => {
    const bytes = fc.oneof(mutated([...SOUND, ...NASTY]), fc.uint8Array({ maxLength: 99 }).map(Buffer.from));
    fc.assert(
      fc.property(bytes, (given) => {
        onlyKeyweaveErrors(() => {
          const request = decoded(OpenConnectRequest, given);
          if (!request) return;
          const { peer, ksid, qos } = readOpen(request);
          assert.match(peer ?? UUID_A, /^[0-9a-f-]{36}$/);
          assert.notEqual(ksid, '');
          assert.ok(qos.keyChunkSize > 0 && qos.metadataMimetype.length <= 256);
        });
        onlyKeyweaveErrors(() => {
          const request = decoded(GetKeysRequest, given);
          const count = request ? readCount(request) : 1;
          assert.ok(count >= 1 && count <= 256);
        });
        onlyKeyweaveErrors(() => {
          const request = decoded(ListStreamsRequest, given);
          const size = request ? readPageSize(request) : 1;
          assert.ok(size >= 1 && size <= 1_000);
        });
      }),
      { ...fuzzParameters(20_000), examples: [...SOUND, ...NASTY].map((given): [Buffer] => [given]) },
    );
  });
});
