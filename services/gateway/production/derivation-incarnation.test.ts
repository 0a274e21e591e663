import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import { ALICE, BOB, incarnation, ksidOf, QOS, termsOf } from '#test/helpers/openings.ts';
import type { NodeServices } from '../clients/node-services.ts';
import { KeyStream } from '../streams/key-stream.ts';
import { deriveTogether, standInSecrets } from './derivation.ts';

const asked: DeriveRequest[] = [];
const services = {
  sharedSeed: () => new Secret(Buffer.from('a seed that both nodes know')),
  hybridizer: {
    derive: async (request: DeriveRequest) => {
      asked.push(request);
      return { batches: [] };
    },
  },
} as unknown as NodeServices;

const stream = (n: number) =>
  new KeyStream({
    id: ksidOf(1).text,
    incarnation: incarnation(n),
    terms: termsOf('app', ALICE, BOB),
    role: 'initiator',
    peerNode: BOB,
    qos: QOS,
    predefined: true,
    allowDegraded: true,
    maxPrefetchChunks: 16,
    maxBufferedChunks: 16,
    now: () => 0,
  });

describe('two incarnations of a KSID', () => {
  it('have different stand-ins for a missing source, each its own for every slot and index', () => {
    const secrets = [
      ...[1, 2].flatMap((n) => [0, 1].map((slot) => standInSecrets(services, stream(n), slot, 0, 2))),
    ].flatMap((two) => [two.subarray(0, 32), two.subarray(32)].map((one) => one.toString('hex')));
    assert.equal(secrets.length, 8);
    assert.equal(new Set(secrets).size, 8);
    assert.deepEqual(standInSecrets(services, stream(1), 1, 1, 1).toString('hex'), secrets[3]);
  });

  it('are named in what their keys are derived from', async () => {
    const slots = [{ secrets: Buffer.alloc(32) }, { secrets: Buffer.alloc(32) }];
    const inputs = { stream: stream(5), first: 0, count: 1, slots, qkd: undefined, degradedSlot: 0 };
    await deriveTogether(services, [inputs]);
    assert.deepEqual(asked[0]?.batches[0]?.context?.incarnation, incarnation(5));
  });
});
