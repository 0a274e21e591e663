import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection } from '#common/grpc/client.ts';
import { CALL_LIMITS } from '#common/limits/message-limits.ts';
import { PeerLinks } from './peer-link.ts';

const NOTHING = Buffer.alloc(16);

/** Brokers that never answer; what reached them, by connection. */
function network() {
  const reached: string[][] = [];
  let closed = 0;
  const agreements = new PeerLinks(() => {
    const calls: string[] = [];
    reached.push(calls);
    const call = (method: string) => (_: unknown, options: { metadata: Map<string, string> }) => {
      calls.push(`${method} ${options.metadata.get(PEER_METADATA)}`);
      return new Promise(() => undefined);
    };
    const methods = Object.keys(CALL_LIMITS).map((method) => [method, call(method)] as const);
    return {
      client: () => Object.fromEntries(methods),
      close: () => {
        closed += 1;
      },
    } as unknown as GrpcConnection;
  });
  return { agreements, reached, closed: () => closed };
}

describe('PeerLinks', () => {
  it('keeps the calls to a peer that hangs few, and from filling the session of others', async () => {
    const { agreements, reached } = network();
    const hung = agreements.of('hung');
    for (let i = 0; i < 1_400; i++) {
      void hung.produce({ offers: [], confirmations: [] }, 300).catch(() => undefined);
      void hung.close({ keyStreamId: NOTHING, incarnation: NOTHING, reason: '' }, 300).catch(() => undefined);
      void hung
        .demand({ keyStreamId: NOTHING, incarnation: NOTHING, count: 1, waitedFor: true })
        .catch(() => undefined);
    }
    await new Promise((resolve) => setImmediate(resolve));
    const of = (method: string) => reached[0]?.filter((call) => call === `${method} hung`).length;
    assert.equal(of('produce'), CALL_LIMITS.produce.filled);
    assert.equal(of('close'), CALL_LIMITS.close.filled);
    assert.equal(of('demand'), CALL_LIMITS.demand.filled);
    void hung.join({ keyStreamId: NOTHING, incarnation: NOTHING }, 300).catch(() => undefined);
    assert.equal(of('join'), 1, 'a Join waits behind other calls');
    void agreements.of('well').produce({ offers: [], confirmations: [] }, 1_000);
    assert.deepEqual(reached[1], ['produce well']);
  });

  it('has one connection for each peer, and closes them all', () => {
    const { agreements, reached, closed } = network();
    assert.equal(agreements.of('a'), agreements.of('a'));
    agreements.of('b');
    assert.equal(reached.length, 2);
    agreements.close();
    agreements.close();
    assert.equal(closed(), 2);
  });

  it('sends every call to that peer', () => {
    const { agreements, reached } = network();
    const peer = agreements.of('well') as unknown as Record<string, (request: object, ms: number) => unknown>;
    const methods = ['open', 'join', 'produce', 'confirm', 'close'];
    for (const method of methods) void peer[method]?.({}, 1_000);
    assert.deepEqual(
      reached[0],
      methods.map((method) => `${method} well`),
    );
  });
});
