import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { systemClock } from '#common/time/clock.ts';
import type { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import { incarnation, ksidOf } from '#test/helpers/openings.ts';
import { keyStream } from '#test/helpers/streams.ts';
import { createHybridizerClient } from '../clients/hybridizer-client.ts';
import { deriveTogether } from './derivation.ts';
import { standInSecrets } from './stand-in.ts';

const asked: DeriveRequest[] = [];
const seeds = { of: () => new Secret(Buffer.from('a seed that both nodes know')) };
const hybridizer = createHybridizerClient({
  derive: async (request) => {
    asked.push(request as DeriveRequest);
    return { batches: [] };
  },
});

const stream = (n: number) =>
  keyStream({ id: ksidOf(1).text, incarnation: incarnation(n), predefined: true, allowDegraded: true });

describe('two incarnations of a KSID', () => {
  it('have different stand-ins for a missing source, each its own for every slot and index', () => {
    const secrets = [
      ...[1, 2].flatMap((n) =>
        [0, 1].map((slot) => standInSecrets(seeds, { stream: stream(n), first: 0, count: 2 }, slot)),
      ),
    ].flatMap((two) => [two.subarray(0, 32), two.subarray(32)].map((one) => one.toString('hex')));
    assert.equal(secrets.length, 8);
    assert.equal(new Set(secrets).size, 8);
    assert.deepEqual(
      standInSecrets(seeds, { stream: stream(1), first: 1, count: 1 }, 1).toString('hex'),
      secrets[3],
    );
  });

  it('are named in what their keys are derived from', async () => {
    const slots = [{ secrets: Buffer.alloc(32) }, { secrets: Buffer.alloc(32) }];
    const inputs = { stream: stream(5), first: 0, count: 1, slots, qkd: undefined, standIn: undefined };
    await deriveTogether({ hybridizer: hybridizer, clock: systemClock }, [inputs]);
    assert.deepEqual(asked[0]?.batches[0]?.context?.incarnation, incarnation(5));
  });
});
