import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason, KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { EncapsulateRequest, EncapsulateResponse } from '#gen/keyweave/v1/pqc_source.ts';
import { FakeClock } from '#test/helpers/fake-clock.ts';
import { BOB } from '#test/helpers/streams.ts';
import { slotOf } from '../streams/stream-terms.ts';
import { type KeyPairs, PqcSourceClient } from './kem-client.ts';
import type { SessionKeyPairs } from './kem-session.ts';
import { STEP_TIMEOUT_MS } from './step-limits.ts';

const SLOT = slotOf('ML-KEM-768');

interface FakeSession {
  readonly made: SessionKeyPairs[];
  readonly used: SessionKeyPairs[];
  readonly discarded: SessionKeyPairs[];
  failing: boolean;
  closed: number;
}

let sessions: FakeSession[];
let clock: FakeClock;
let client: PqcSourceClient;
/** Bytes that the next answers have too many. */
let surplus: number;
/** Secrets that sessions and pqc-source have given. */
let given: Buffer[];
let asked: { request: EncapsulateRequest; timeoutMs: number }[];
let encapsulated: Partial<EncapsulateResponse>;

function open() {
  const fake: FakeSession = { made: [], used: [], discarded: [], failing: false, closed: 0 };
  sessions.push(fake);
  return {
    generate: async (_: string, count: number) => {
      if (fake.failing) throw new KeyweaveError('SERVICE_UNAVAILABLE', 'as the test says');
      const publicKeys = Buffer.alloc(count * SLOT.publicKeyBytes + surplus);
      const pairs = { id: fake.made.length + 1, publicKeys, opening: 1 };
      fake.made.push(pairs);
      return pairs;
    },
    decapsulate: async (pairs: SessionKeyPairs, ciphertexts: Uint8Array) => {
      fake.used.push(pairs);
      if (fake.failing) throw new KeyweaveError('SERVICE_UNAVAILABLE', 'as the test says');
      const secrets = Buffer.alloc((ciphertexts.length / SLOT.ciphertextBytes) * 32 + surplus, 7);
      given.push(secrets);
      return secrets;
    },
    discard: (pairs: SessionKeyPairs) => void fake.discarded.push(pairs),
    close: () => {
      fake.closed += 1;
    },
  };
}

beforeEach(() => {
  [sessions, given, asked, encapsulated, surplus] = [[], [], [], {}, 0];
  clock = new FakeClock(7_000);
  const pqcSource = {
    encapsulate: async (request: EncapsulateRequest, { timeoutMs }: { timeoutMs: number }) => {
      asked.push({ request, timeoutMs });
      const count = request.publicKeys.length / SLOT.publicKeyBytes;
      const sharedSecrets = Buffer.alloc(count * 32, 7);
      given.push(sharedSecrets);
      return { ciphertexts: new Uint8Array(count * SLOT.ciphertextBytes), sharedSecrets, ...encapsulated };
    },
    listAlgorithms: async () => ({
      algorithms: [
        { slot: slotOf('ML-KEM-768'), unavailable: '' },
        { slot: slotOf('HQC-128'), unavailable: 'no engine of this node knows it' },
      ],
    }),
  };
  client = new PqcSourceClient(pqcSource as never, clock, open);
});

const first = () => sessions[0] as FakeSession;
const generate = (count = 1) => client.generate(SLOT, count);
const decapsulate = (pairs: KeyPairs, count = 1) =>
  client.decapsulate(SLOT, pairs, Buffer.alloc(count * SLOT.ciphertextBytes));
const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);
const isWrongSize = (error: unknown) =>
  isReason(error, 'INTERNAL') && /pqc-source answered with a wrong size/.test(String(error));

describe('PqcSourceClient', () => {
  it('spreads batches over four sessions and goes back to the one that made a batch', async () => {
    const batches = [];
    for (let i = 0; i < 8; i++) batches.push(await generate());
    assert.deepEqual(
      sessions.map(({ made }) => made.length),
      [2, 2, 2, 2],
    );
    for (const batch of batches.reverse()) await decapsulate(batch);
    for (const { made, used } of sessions) assert.deepEqual(used, made.toReversed());
  });

  it('uses key pairs once', async () => {
    const pairs = await generate();
    await decapsulate(pairs);
    client.discard(pairs);
    assert.deepEqual(first().discarded, []);
    await assert.rejects(decapsulate(pairs), /^TypeError: key pairs are used once/);
    assert.equal(first().used.length, 1);
    const unused = await generate();
    client.discard(unused);
    client.discard(unused);
    assert.deepEqual(sessions[1]?.discarded, [unused]);
    await assert.rejects(decapsulate(unused), /^TypeError: key pairs are used once/);
  });

  it('uses key pairs up though they could not be decapsulated', async () => {
    const pairs = await generate();
    first().failing = true;
    await assert.rejects(decapsulate(pairs), /as the test says/);
    await assert.rejects(decapsulate(pairs), /^TypeError: key pairs are used once/);
    client.discard(pairs);
    assert.deepEqual(first().discarded, []);
  });

  it('knows no key pairs but its own', async () => {
    await generate();
    await assert.rejects(decapsulate({ publicKeys: Buffer.alloc(1184) }), /by the client that made them/);
    client.discard({ publicKeys: Buffer.alloc(1184) });
    assert.deepEqual([first().used, first().discarded], [[], []]);
  });

  it('gives the secrets of the first keys of a batch, which are then the caller to wipe', async () => {
    const pairs = await generate(4);
    const secrets = await decapsulate(pairs, 3);
    assert.deepEqual(secrets, Buffer.alloc(96, 7));
    assert.equal(secrets, given[0]);
  });

  for (const bytes of [1, -1]) {
    it(`refuses key pairs of ${bytes} byte more than their slot has, and has the private halves wiped`, async () => {
      surplus = bytes;
      await assert.rejects(generate(2), isWrongSize);
      assert.deepEqual(first().discarded, first().made);
      surplus = 0;
      await clock.advance(60_000);
      for (let i = 0; i < 4; i++) await generate();
      assert.equal(first().closed, 1, 'the session waits for a batch that nobody has');
    });

    it(`refuses secrets of ${bytes} byte more than their slot has, and wipes them`, async () => {
      const pairs = await generate(2);
      surplus = bytes;
      await assert.rejects(decapsulate(pairs, 2), isWrongSize);
      assert.ok(isZero(given[0] as Buffer));
    });
  }

  it('opens sessions anew after a minute; an old one ends with the last of its batches', async () => {
    const [used, discarded, , idle] = [
      await generate(),
      await generate(),
      await generate(),
      await generate(),
    ];
    await decapsulate(idle);
    await clock.advance(59_999);
    const also = await generate();
    for (let i = 0; i < 3; i++) await decapsulate(await generate());
    assert.equal(sessions.length, 4);
    await clock.advance(1);
    for (let i = 0; i < 4; i++) await generate();
    assert.equal(sessions.length, 8);
    const closed = () => sessions.slice(0, 4).map((session) => session.closed === 1);
    assert.deepEqual(closed(), [false, false, false, true]);
    await decapsulate(also);
    assert.deepEqual(closed(), [false, false, false, true], 'it ended with the first of its batches');
    await decapsulate(used);
    client.discard(discarded);
    assert.deepEqual(closed(), [true, true, false, true]);
    client.close();
    assert.ok(sessions.every((session) => session.closed === 1));
  });

  it('forgets batches that failed', async () => {
    const made = await generate();
    first().failing = true;
    for (let i = 0; i < 3; i++) await generate();
    await assert.rejects(generate(), /as the test says/);
    client.discard(made);
    await clock.advance(60_000);
    for (let i = 0; i < 4; i++) await generate();
    assert.equal(first().closed, 1);
  });

  it('keeps a session that has nothing to do for those who come', async () => {
    for (let i = 0; i < 8; i++) await decapsulate(await generate());
    assert.deepEqual(
      sessions.map((session) => session.closed),
      [0, 0, 0, 0],
    );
  });

  it('opens sessions of pqc-source where nothing else is given', async () => {
    // biome-ignore lint/correctness/useYield: it fails before it gives anything
    const keyPairs = async function* () {
      throw new KeyweaveError('SERVICE_UNAVAILABLE', 'no pqc-source');
    };
    const real = new PqcSourceClient({ keyPairs } as never, clock);
    await assert.rejects(real.generate(SLOT, 1), /no pqc-source/);
  });
});

describe('encapsulation', () => {
  const encapsulate = (count: number) =>
    client.encapsulate(SLOT, Buffer.alloc(count * SLOT.publicKeyBytes, 3), BOB);

  it('asks on the account of the peer, with a limit of time, and gives both halves', async () => {
    const { ciphertexts, sharedSecrets } = await encapsulate(2);
    assert.deepEqual(asked, [
      {
        request: { algorithm: 'ML-KEM-768', publicKeys: Buffer.alloc(2 * 1184, 3), peerNode: BOB },
        timeoutMs: STEP_TIMEOUT_MS.encapsulate,
      },
    ]);
    assert.deepEqual([ciphertexts, sharedSecrets], [Buffer.alloc(2 * 1088), Buffer.alloc(64, 7)]);
    assert.equal(sharedSecrets.buffer, given[0]?.buffer, 'a copy would be left unwiped');
  });

  for (const [what, answer] of [
    ['ciphertexts', { ciphertexts: Buffer.alloc(2 * 1088 - 1) }],
    ['ciphertexts', { ciphertexts: Buffer.alloc(2 * 1088 + 1) }],
    ['secrets', { sharedSecrets: Buffer.alloc(63, 7) }],
    ['secrets', { sharedSecrets: Buffer.alloc(65, 7) }],
  ] as const) {
    const [bytes] = Object.values(answer);
    it(`refuses ${bytes?.length} bytes of ${what} for two keys, and wipes the secrets`, async () => {
      encapsulated = answer;
      await assert.rejects(encapsulate(2), isWrongSize);
      assert.ok(isZero(encapsulated.sharedSecrets ?? (given[0] as Buffer)));
    });
  }
});

describe('what pqc-source cannot do', () => {
  it('is named with the reason, and what it can do with none', async () => {
    assert.deepEqual(
      [...(await client.unavailable())],
      [
        ['ML-KEM-768', ''],
        ['HQC-128', 'no engine of this node knows it'],
      ],
    );
  });
});
