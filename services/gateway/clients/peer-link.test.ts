import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PEER_METADATA } from '#common/grpc/callers.ts';
import type { GrpcConnection } from '#common/grpc/client.ts';
import { CALL_LIMITS } from '#common/limits/message-limits.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { BrokerLinks } from './peer-link.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

const NOTHING = Buffer.alloc(16);

/** Brokers that never answer; what reached them, by connection, and how long each call may take. */
function network() {
  const clock = new FakeClock();
  const reached: string[][] = [];
  const limits: number[] = [];
  let closed = 0;
  const connect = () => {
    const calls: string[] = [];
    reached.push(calls);
    const call =
      (method: string) => (_: unknown, options: { metadata: Map<string, string>; timeoutMs: number }) => {
        limits.push(options.timeoutMs);
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
  };
  return { links: new BrokerLinks(connect, clock), clock, reached, limits, closed: () => closed };
}

describe('BrokerLinks', () => {
  it('keeps the calls to a peer that hangs few, and from filling the session of others', async () => {
    const { links, clock, reached } = network();
    const hung = links.to('hung');
    for (let i = 0; i < 1_400; i++) {
      void hung.produce({ offers: [], confirmations: [], qkd: undefined }).catch(() => undefined);
      void hung.close({ keyStreamId: NOTHING, incarnation: NOTHING, reason: '' }).catch(() => undefined);
      void hung
        .demand({ keyStreamId: NOTHING, incarnation: NOTHING, count: 1, waitedFor: true })
        .catch(() => undefined);
    }
    await clock.settle();
    const of = (method: string) => reached[0]?.filter((call) => call === `${method} hung`).length;
    assert.equal(of('produce'), CALL_LIMITS.produce.filled);
    assert.equal(of('close'), CALL_LIMITS.close.filled);
    assert.equal(of('demand'), CALL_LIMITS.demand.filled);
    void hung.join({ keyStreamId: NOTHING, incarnation: NOTHING }, 300).catch(() => undefined);
    assert.equal(of('join'), 1, 'a Join waits behind other calls');
    void links.to('well').produce({ offers: [], confirmations: [], qkd: undefined });
    assert.deepEqual(reached[1], ['produce well']);
  });

  it('has one connection for each peer, and closes them all', () => {
    const { links, reached, closed } = network();
    assert.equal(links.to('a'), links.to('a'));
    links.to('b');
    assert.equal(reached.length, 2);
    links.close();
    links.close();
    assert.equal(closed(), 2);
  });

  it('sends every call to that peer', () => {
    const { links, reached } = network();
    const peer = links.to('well') as unknown as Record<string, (request: object, ms: number) => unknown>;
    const methods = ['open', 'join', 'produce', 'confirm', 'close'];
    for (const method of methods) void peer[method]?.({}, 1_000);
    assert.deepEqual(
      reached[0],
      methods.map((method) => `${method} well`),
    );
  });

  it('gives every call the limit of its step, and an application that has less time left no more', async () => {
    const { links, clock, limits } = network();
    const link = links.to('well');
    const stream = { keyStreamId: NOTHING, incarnation: NOTHING };
    const { rendezvous, produce, confirm, demand, close } = STEP_TIMEOUT_MS;
    const table: [call: () => Promise<unknown>, limitMs: number][] = [
      [() => link.open({} as never), rendezvous],
      [() => link.open({} as never, rendezvous + 1), rendezvous],
      [() => link.open({} as never, Number.POSITIVE_INFINITY), rendezvous],
      [() => link.open({} as never, 70), 70],
      [() => link.join(stream), rendezvous],
      [() => link.join(stream, 60_000), rendezvous],
      [() => link.join(stream, 70), 70],
      [() => link.produce({ offers: [], confirmations: [], qkd: undefined }), produce],
      [() => link.confirm({ confirmations: [] }), confirm],
      [() => link.close({ ...stream, reason: '' }), close],
      [() => link.demand({ ...stream, count: 1, waitedFor: true }), demand],
    ];
    for (const [call] of table) {
      void call();
      await clock.settle();
    }
    assert.deepEqual(
      limits,
      table.map(([, limitMs]) => limitMs),
    );
  });

  it('counts the wait for a turn, and gives up when the turn does not come in time', async () => {
    const { links, clock, reached } = network();
    const link = links.to('hung');
    const join = { keyStreamId: NOTHING, incarnation: NOTHING };
    for (let i = 0; i < CALL_LIMITS.join.filled; i++) void link.join(join);
    const late = [link.join(join, 70), link.join(join, 60_000)].map((one) =>
      assert.rejects(one, /TIMEOUT: the other node has left \d+ calls like this unanswered/),
    );
    await clock.advance(70);
    await late[0];
    assert.equal(clock.pending, 1);
    await clock.advance(STEP_TIMEOUT_MS.rendezvous - 70);
    await late[1];
    assert.equal(reached[0]?.length, CALL_LIMITS.join.filled);
  });
});
