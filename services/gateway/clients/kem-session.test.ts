import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { PushQueue } from '#common/grpc/push-queue.ts';
import type { KeyPairsRequest, KeyPairsResponse } from '#gen/keyweave/v1/pqc_source.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { KemSession } from './kem-session.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

/** One stream as pqc-source sees it. */
interface Opened {
  readonly requests: KeyPairsRequest[];
  readonly answers: PushQueue<KeyPairsResponse>;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Set it, then end `answers`, to have the stream break. */
  error: unknown;
  /** The gateway has ended its half. */
  ended: boolean;
}

let streams: Opened[];
let session: KemSession;
let clock: FakeClock;

beforeEach(() => {
  clock = new FakeClock();
  streams = [];
  const client = {
    keyPairs: (
      requests: AsyncIterable<KeyPairsRequest>,
      options: { signal: AbortSignal; timeoutMs: number },
    ) => {
      const opened: Opened = {
        ...{ requests: [], answers: new PushQueue<KeyPairsResponse>(), error: undefined, ended: false },
        ...options,
      };
      streams.push(opened);
      void (async () => {
        for await (const request of requests) opened.requests.push(request);
        opened.ended = true;
      })();
      return (async function* () {
        yield* opened.answers;
        if (opened.error) throw opened.error;
      })();
    },
  };
  session = new KemSession(client as never, clock);
});
afterEach(() => {
  session.close();
  assert.equal(clock.pending, 0, 'a timer outlives the session');
});

const settle = () => clock.settle();
const generate = async () => {
  const made = session.generate('ML-KEM-768', 2);
  made.catch(() => undefined);
  await settle();
  return made;
};

/** Starts a request; `answer` gives what pqc-source says to it. */
async function asked<T>(answer: Promise<T>) {
  answer.catch(() => undefined);
  await settle();
  const stream = streams.at(-1) as Opened;
  const { id } = stream.requests.at(-1) as KeyPairsRequest;
  const say = async (response: Partial<KeyPairsResponse>) => {
    stream.answers.push({ id, ...response } as KeyPairsResponse);
    await settle();
  };
  return { answer, id, say };
}

async function batch() {
  const { answer, say } = await asked(session.generate('ML-KEM-768', 2));
  await say({ publicKeys: Buffer.alloc(4, 9) });
  return answer;
}

describe('a session of pqc-source', () => {
  it('carries questions and answers on one stream without a limit of time, whichever is answered first', async () => {
    const first = await asked(session.generate('ML-KEM-768', 2));
    const second = await asked(session.generate('HQC-128', 1));
    assert.deepEqual(
      streams[0]?.requests.map((request) => request.generate),
      [
        { algorithm: 'ML-KEM-768', count: 2 },
        { algorithm: 'HQC-128', count: 1 },
      ],
    );
    await second.say({ publicKeys: Buffer.alloc(2, 2) });
    await first.say({ publicKeys: Buffer.alloc(1, 1) });
    const made = await Promise.all([first.answer, second.answer]);
    assert.deepEqual(
      made.map(({ publicKeys }) => publicKeys.length),
      [1, 2],
    );
    const use = await asked(session.decapsulate(made[1], Buffer.alloc(3)));
    assert.deepEqual(streams[0]?.requests.at(-1)?.decapsulate, {
      keyPairsId: second.id,
      ciphertexts: Buffer.alloc(3),
    });
    await use.say({ sharedSecrets: Buffer.alloc(32, 7) });
    const again = Buffer.alloc(32, 8);
    await use.say({ sharedSecrets: again });
    assert.deepEqual(await use.answer, Buffer.alloc(32, 7));
    assert.deepEqual(again, Buffer.alloc(32), 'a second answer was not wiped');
    session.discard(made[0]);
    await settle();
    assert.deepEqual(streams[0]?.requests.at(-1)?.discard, { keyPairsId: first.id });
    const ids = streams[0]?.requests.map(({ id }) => id);
    assert.equal(new Set(ids).size, 4);
    assert.deepEqual([streams.length, streams[0]?.timeoutMs], [1, Number.POSITIVE_INFINITY]);
  });

  it('says what pqc-source says, or that it failed', async () => {
    for (const [failure, words] of [
      [{ reason: 'UNSUPPORTED', detail: 'no such KEM' }, /UNSUPPORTED: no such KEM/],
      [{ reason: 'NONSENSE', detail: 'from another version' }, /AGREEMENT_FAILED: from another version/],
      [undefined, /AGREEMENT_FAILED: pqc-source failed/],
    ] as const) {
      const { answer, say } = await asked(session.generate('X', 1));
      await say({ failure });
      await assert.rejects(answer, words);
    }
  });

  it('waits no longer than it is told to, and then leaves no secret behind, here or there', async () => {
    const lateKeys = await asked(session.generate('ML-KEM-768', 2));
    await clock.advance(STEP_TIMEOUT_MS.generate - 1);
    assert.equal(clock.pending, 1, 'it waited for less than it may');
    await clock.advance(1);
    await assert.rejects(lateKeys.answer, /TIMEOUT: pqc-source did not answer in time/);
    await lateKeys.say({ publicKeys: Buffer.alloc(4) });
    assert.deepEqual(streams[0]?.requests.at(-1)?.discard, { keyPairsId: lateKeys.id });
    const lateSecrets = await asked(session.decapsulate(await batch(), Buffer.alloc(3)));
    await clock.advance(STEP_TIMEOUT_MS.decapsulate);
    await assert.rejects(lateSecrets.answer, /TIMEOUT/);
    const sharedSecrets = Buffer.alloc(32, 7);
    const before = streams[0]?.requests.length;
    await lateSecrets.say({ sharedSecrets });
    assert.ok(sharedSecrets.every((byte) => byte === 0));
    assert.equal(streams[0]?.requests.length, before);
  });

  it('gives slow KEMs the time that they need', async () => {
    const { answer, say } = await asked(session.generate('Classic-McEliece-8192128', 1));
    await clock.advance(STEP_TIMEOUT_MS.generateSlow - 1);
    await say({ publicKeys: Buffer.alloc(4) });
    assert.equal((await answer).publicKeys.length, 4);
  });

  it('has no time run out that has been answered in time', async () => {
    await batch();
    await clock.advance(600_000);
    await batch();
    assert.equal(streams.length, 1);
  });

  for (const [what, error, words] of [
    ['breaks', new KeyweaveError('TIMEOUT', 'the connection was lost'), /TIMEOUT: the connection was lost/],
    ['ends', undefined, /SERVICE_UNAVAILABLE: pqc-source has ended the stream/],
    ['breaks for no reason of ours', new Error('what?'), /SERVICE_UNAVAILABLE/],
  ] as const) {
    it(`that ${what} takes its key pairs and whoever waits along; the next question opens another`, async () => {
      const made = await batch();
      const waiting = await asked(session.generate('ML-KEM-768', 1));
      const old = streams[0] as Opened;
      old.error = error;
      old.answers.end();
      await settle();
      await assert.rejects(waiting.answer, words);
      assert.deepEqual([old.signal.aborted, old.ended], [true, true]);
      await assert.rejects(
        session.decapsulate(made, Buffer.alloc(3)),
        /SERVICE_UNAVAILABLE: .* its private keys are gone/,
      );
      session.discard(made);
      const anew = await batch();
      assert.equal(streams.length, 2);
      await assert.rejects(session.decapsulate(made, Buffer.alloc(3)), /its private keys are gone/);
      session.discard(made);
      await settle();
      assert.ok(streams[1]?.requests.every(({ discard }) => discard === undefined));
      assert.equal(streams[1]?.signal.aborted, false);
      const use = await asked(session.decapsulate(anew, Buffer.alloc(3)));
      await use.say({ sharedSecrets: Buffer.alloc(32) });
      await use.answer;
    });
  }

  it('ends with the gateway: whoever waits is told, and nothing is asked any more', async () => {
    const made = await batch();
    const waiting = await asked(session.generate('ML-KEM-768', 1));
    session.close();
    await assert.rejects(waiting.answer, /SHUTTING_DOWN/);
    await settle();
    assert.deepEqual([streams[0]?.signal.aborted, streams[0]?.ended], [true, true]);
    await assert.rejects(generate(), /SHUTTING_DOWN: the gateway is stopping/);
    await assert.rejects(session.decapsulate(made, Buffer.alloc(3)), KeyweaveError);
    session.discard(made);
    assert.equal(streams.length, 1);
  });
});
