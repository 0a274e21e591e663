import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type CallContext, Metadata } from 'nice-grpc';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { ErrorReason } from '#common/errors/status-table.ts';
import { CALLER_METADATA, PEER_METADATA } from '#common/grpc/callers.ts';
import { TIMEOUT_METADATA } from '#common/grpc/deadline.ts';
import { CALL_LIMITS } from '#common/limits/message-limits.ts';
import { PROTOCOL_VERSION } from '#common/service/version.ts';
import { OpenRequest } from '#gen/keyweave/v1/key_agreement.ts';
import { METHODS } from './raw-key-agreement.ts';
import { createInboundRelay, createOutboundRelay, type RawClient, type RawService } from './relay.ts';

const OWN = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const BOB = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const CAROL = 'cccccccc-cccc-cccc-cccc-cccccccccccc';

interface Passed {
  readonly method: string;
  readonly to: string;
  readonly request: Buffer;
  readonly peer: string | undefined;
  readonly metadata: string[];
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly answered: PromiseWithResolvers<Buffer>;
}

/** What went on to the next hop. */
let passed: Passed[];
let inbound: RawService;
let outbound: RawService;

/** The next hop: answers when the test says so. */
function clientOf(to: string): RawClient {
  const call =
    (method: string) =>
    (request: Buffer, options: { metadata: Metadata; timeoutMs: number; signal: AbortSignal }) => {
      const { metadata, timeoutMs, signal } = options;
      const answered = Promise.withResolvers<Buffer>();
      signal.addEventListener('abort', () => answered.reject(new Error('cancelled')));
      const names = [...metadata].map(([name]) => name);
      passed.push({
        ...{ method, to, request, timeoutMs, signal, answered },
        peer: metadata.get(PEER_METADATA),
        metadata: names,
      });
      return answered.promise;
    };
  return Object.fromEntries(METHODS.map((method) => [method, call(method)])) as unknown as RawClient;
}

beforeEach(() => {
  passed = [];
  inbound = createInboundRelay(clientOf, OWN);
  outbound = createOutboundRelay(clientOf);
});

function context(entries: Record<string, string>, signal = new AbortController().signal): CallContext {
  return { metadata: Metadata(entries), signal } as unknown as CallContext;
}

/** A call of the broker of `node`, as the authorisation lets it in. */
const from = (node: string, more: Record<string, string> = {}, signal?: AbortSignal) =>
  context({ [CALLER_METADATA]: `spiffe://keyweave/node/${node}/peer-broker`, ...more }, signal);

const offer = (protocolVersion: number) =>
  Buffer.from(OpenRequest.encode(OpenRequest.fromPartial({ protocolVersion })).finish());

const settle = () => new Promise((resolve) => setImmediate(resolve));

const refused = (call: Promise<Buffer>, reason: ErrorReason, words: RegExp) =>
  assert.rejects(call, (error) => isReason(error, reason) && words.test(String(error)), reason);

describe('the relay for calls of peers', () => {
  it('takes the peer from its certificate, whatever the call claims', async () => {
    for (const method of METHODS) {
      const request = method === 'open' ? offer(PROTOCOL_VERSION) : Buffer.from(method);
      void inbound[method](request, from(BOB, { [PEER_METADATA]: CAROL })).catch(() => undefined);
      await settle();
      assert.equal(passed.at(-1)?.peer, BOB, method);
      assert.equal(passed.at(-1)?.to, BOB, 'the connection of another peer');
    }
    assert.equal(passed.length, METHODS.length);
  });

  it('passes on nothing else that the call carries', async () => {
    void inbound.close(Buffer.alloc(0), from(BOB, { authorization: 'x', 'keyweave-tool': 'y' }));
    await settle();
    assert.deepEqual(passed[0]?.metadata, [PEER_METADATA]);
  });

  it('refuses a caller whose certificate names no node', async () => {
    for (const caller of ['', 'spiffe://keyweave/tool', 'bob']) {
      await refused(
        inbound.close(Buffer.alloc(0), context({ [CALLER_METADATA]: caller, [PEER_METADATA]: BOB })),
        'NOT_ALLOWED',
        /certificate/,
      );
    }
    await refused(inbound.close(Buffer.alloc(0), context({ [PEER_METADATA]: BOB })), 'NOT_ALLOWED', /caller/);
    assert.equal(passed.length, 0);
  });

  it('passes bytes both ways as they are', async () => {
    const request = Buffer.from([0xff, 0, 1]);
    const answer = inbound.produce(request, from(BOB));
    await settle();
    assert.equal(passed[0]?.request, request);
    const response = Buffer.from([7]);
    passed[0]?.answered.resolve(response);
    assert.equal(await answer, response);
  });

  it('leaves the next hop a little less time than the call has, and never more than the longest', async () => {
    for (const [asked, given] of [
      ['5000', 4980],
      ['10', 1],
      ['1', 1],
      ['99999999', 179_980],
      [undefined, 179_980],
    ] as const) {
      void inbound.confirm(Buffer.alloc(0), from(BOB, asked ? { [TIMEOUT_METADATA]: asked } : {}));
      await settle();
      assert.equal(passed.at(-1)?.timeoutMs, given, asked ?? 'no deadline');
    }
    for (const bad of ['0', '-1', 'soon', 'Infinity', 'NaN']) {
      await refused(
        inbound.confirm(Buffer.alloc(0), from(BOB, { [TIMEOUT_METADATA]: bad })),
        'BAD_REQUEST',
        /deadline/,
      );
    }
  });

  it('cancels the next hop with the call', async () => {
    const gone = new AbortController();
    const call = inbound.produce(Buffer.alloc(0), from(BOB, {}, gone.signal));
    await settle();
    gone.abort();
    await assert.rejects(call, /cancelled/);
  });

  it('refuses offers of another version, and what is no offer, before anything else happens', async () => {
    await refused(
      inbound.open(offer(PROTOCOL_VERSION + 1), from(BOB)),
      'REVISION_MISMATCH',
      new RegExp(
        `node ${OWN} speaks version ${PROTOCOL_VERSION}.*node ${BOB} version ${PROTOCOL_VERSION + 1}`,
      ),
    );
    await refused(inbound.open(Buffer.from([0x0a, 0xff]), from(BOB)), 'BAD_REQUEST', /cannot be read/);
    assert.equal(passed.length, 0);
    void inbound.open(offer(PROTOCOL_VERSION), from(BOB));
    await settle();
    assert.equal(passed.length, 1);
  });

  it('takes so many calls of one peer at a time, and keeps nobody else out', async () => {
    const flood = Array.from({ length: 1_400 }, () => inbound.demand(Buffer.alloc(0), from(BOB)));
    const outcomes = flood.map((call) => call.then(String, String));
    await settle();
    assert.equal(passed.length, CALL_LIMITS.demand.taken);
    assert.match((await outcomes.at(-1)) ?? '', /LIMIT_EXCEEDED.*node bbbbbbbb/);
    void inbound.open(offer(PROTOCOL_VERSION), from(CAROL));
    void inbound.open(offer(PROTOCOL_VERSION), from(BOB));
    void inbound.demand(Buffer.alloc(0), from(CAROL));
    await settle();
    assert.equal(passed.length, CALL_LIMITS.demand.taken + 3);
    for (const { answered } of passed) answered.resolve(Buffer.alloc(0));
    await Promise.all(outcomes);
    void inbound.demand(Buffer.alloc(0), from(BOB));
    await settle();
    assert.equal(passed.length, CALL_LIMITS.demand.taken + 4, 'a place was lost');
  });

  it('frees the place of a call that was cancelled', async () => {
    for (let i = 0; i < 3 * CALL_LIMITS.produce.taken; i++) {
      const gone = new AbortController();
      const call = inbound.produce(Buffer.alloc(0), from(BOB, {}, gone.signal));
      await settle();
      gone.abort();
      await assert.rejects(call, /cancelled/);
    }
  });
});

describe('what the next hop answers', () => {
  it('comes back as it is: bytes, and failures with their reason', async () => {
    for (const [call, peer] of [
      [() => inbound.join(Buffer.alloc(0), from(BOB)), BOB],
      [() => outbound.join(Buffer.alloc(0), context({ [PEER_METADATA]: CAROL })), CAROL],
    ] as const) {
      const answer = call();
      await settle();
      assert.equal(passed.at(-1)?.to, peer);
      passed.at(-1)?.answered.reject(new KeyweaveError('NO_ROOM', 'the other end holds its limit'));
      await refused(answer, 'NO_ROOM', /holds its limit/);
    }
  });
});

describe('the relay for calls of the own gateway', () => {
  const to = (peer?: string) =>
    context({
      [CALLER_METADATA]: `spiffe://keyweave/node/${OWN}/gateway`,
      ...(peer && { [PEER_METADATA]: peer }),
    });

  it('sends a call to the peer that it names, and tells the peer nothing of it', async () => {
    void outbound.produce(Buffer.from('a'), to(BOB));
    void outbound.close(Buffer.from('b'), to(CAROL));
    await settle();
    assert.deepEqual(
      passed.map((call) => [call.to, call.method]),
      [
        [BOB, 'produce'],
        [CAROL, 'close'],
      ],
    );
    assert.deepEqual(passed[0]?.metadata, []);
  });

  it('refuses peers that there is no way to, before a place is taken or anything is sent', async () => {
    const strict = createOutboundRelay((peer) => {
      if (peer !== BOB) throw new KeyweaveError('NO_ROUTE', `node ${peer} is not among the trusted peers`);
      return clientOf(peer);
    });
    for (let i = 0; i < 2 * CALL_LIMITS.produce.taken; i++)
      await refused(strict.produce(Buffer.alloc(0), to(CAROL)), 'NO_ROUTE', /not among the trusted/);
    assert.equal(passed.length, 0);
    void strict.produce(Buffer.alloc(0), to(BOB));
    await settle();
    assert.equal(passed.length, 1);
  });

  it('gives the next hop the time that is left, less what an answer of its own needs', async () => {
    void outbound.produce(Buffer.alloc(0), context({ [PEER_METADATA]: BOB, [TIMEOUT_METADATA]: '700' }));
    await settle();
    assert.equal(passed[0]?.timeoutMs, 680);
  });

  it('does not read offers: what a node may say to another is for that one to judge', async () => {
    const answer = outbound.open(Buffer.from([0x0a, 0xff]), to(BOB));
    await settle();
    passed[0]?.answered.resolve(Buffer.from([1]));
    assert.deepEqual(await answer, Buffer.from([1]));
  });

  it('refuses a call that names nobody', async () => {
    await refused(outbound.produce(Buffer.alloc(0), to()), 'BAD_REQUEST', /names no peer/);
  });

  it('has so many calls to one peer at a time, and room for those to others', async () => {
    const flood = Array.from({ length: 1_400 }, () => outbound.produce(Buffer.alloc(0), to(BOB)));
    for (const call of flood) call.catch(() => undefined);
    await settle();
    assert.equal(passed.length, CALL_LIMITS.produce.taken);
    void outbound.produce(Buffer.alloc(0), to(CAROL));
    await settle();
    assert.equal(passed.at(-1)?.to, CAROL);
  });
});
