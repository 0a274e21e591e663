import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';

/** What came of a call: the status of ETSI GS QKD 004, whatever the protocol calls it. */
export interface Answer {
  readonly status: number;
  readonly ksid?: string | undefined;
  readonly index?: number | undefined;
  readonly key?: Buffer | undefined;
}

/** URIs of two applications, the same at both ends, and the KSID that they have agreed on. */
export interface Wish {
  readonly source: string;
  readonly destination: string;
  readonly ksid: string;
}

/** An application that speaks a front end's protocol to one node. */
export interface DoorClient {
  /** With a timeout of 30 s and keys of 32 bytes. */
  open(wish: Wish): Promise<Answer>;
  /** The next key, or the one at `index`. */
  getKey(ksid: string, index?: number): Promise<Answer>;
  close(ksid: string): Promise<Answer>;
  disconnect(): void;
}

/** What clients do to a front end, and one that behaves. */
export interface HardDoor {
  readonly name: string;
  /** The status that answers a request that cannot be read. */
  malformed(): Promise<number>;
  /** Sends more than a request may have; resolves once it is refused or the connection has ended. */
  oversized(): Promise<void>;
  /** Sends one request for what nobody knows in many pieces; the status that answers it. */
  slow(): Promise<number>;
  /** The status that answers a client whom no list of the node names, when it asks for a stream, or for keys. */
  stranger(): Promise<number>;
  /** So many connections that say nothing; gives what ends them. */
  idle(count: number): Promise<() => void>;
}

/** Clients of a door; the lists of the node name the stranger nowhere. */
export type Who = 'own' | 'other' | 'stranger';

/** One of a node's front ends for ETSI GS QKD 004. */
export interface Door extends HardDoor {
  /** @param who the identity in the client's certificate. */
  connect(end: 'initiator' | 'responder', who?: Who): Promise<DoorClient>;
  /** Has much answered and reads none of it; gives what ends it. */
  neverReading(ksid: string): Promise<() => void>;
}

/** What a front end of another standard is asked for. */
export interface HardCases {
  /** One client that behaves gets keys at both ends, of streams that nobody else reads. */
  served(): Promise<void>;
  /** Has much answered and reads none of it; gives what ends it, and what it leaves. */
  neverReading(): Promise<() => Promise<void>>;
  /** The statuses of `malformed`, `slow` and `stranger`. */
  readonly statuses: { readonly malformed: number; readonly slow: number; readonly stranger: number };
}

/** Which statuses mean that a stream is open. */
const OPEN = [0, 7];

const UNKNOWN_STREAM = 3;
const NOT_ALLOWED = 4;
const KSID_IN_USE = 5;
const INSUFFICIENT_KEY = 2;

const IDLE_CONNECTIONS = 1_000;

/** Time in which one that behaves is served, whatever others do. */
const SERVED_MS = 30_000;

/** What every front end of a node promises; `wish` names applications that nobody else is. */
export function frontEndContract(door: Door, wish: () => Wish): void {
  /** A stream with an application at each end. */
  async function pair() {
    const [a, b] = await Promise.all([door.connect('initiator'), door.connect('responder')]);
    const names = wish();
    const opened = await Promise.all([a.open(names), b.open(names)]);
    for (const { status, ksid } of opened) {
      assert.ok(OPEN.includes(status), `status ${status}`);
      assert.equal(ksid, names.ksid);
    }
    const end = async () => {
      await Promise.all([a.close(names.ksid), b.close(names.ksid)]);
      a.disconnect();
      b.disconnect();
    };
    return { a, b, names, ksid: names.ksid, end };
  }

  /** One that behaves gets keys at both ends. */
  async function served(): Promise<void> {
    const { a, b, ksid, end } = await pair();
    const [one, other] = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
    assert.deepEqual([one.status, other.status], [0, 0]);
    assert.deepEqual(one.key, other.key);
    await end();
  }

  describe(`front end ${door.name}`, () => {
    it('opens and joins, and gives both ends the same keys, each index once', async () => {
      const { a, b, ksid, end } = await pair();
      for (let i = 0; i < 20; i++) {
        const [one, other] = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
        assert.deepEqual([one.status, one.index, other.index], [0, i, i]);
        assert.equal(one.key?.length, 32);
        assert.deepEqual(one.key, other.key);
      }
      await end();
    });

    it('gives the key of an index, and of one that was taken none', async () => {
      const { a, b, ksid, end } = await pair();
      const [one, other] = await Promise.all([a.getKey(ksid, 5), b.getKey(ksid, 5)]);
      assert.deepEqual([one.status, one.index, one.key], [0, 5, other.key]);
      assert.equal((await a.getKey(ksid, 5)).status, INSUFFICIENT_KEY);
      assert.equal((await a.getKey(ksid, 1_000_000)).status, INSUFFICIENT_KEY);
      assert.equal((await a.getKey(ksid)).index, 0);
      await end();
    });

    it('refuses a KSID that is in use, and knows a closed stream no more', async () => {
      const { a, b, names, ksid, end } = await pair();
      assert.equal((await a.open(names)).status, KSID_IN_USE);
      assert.equal((await a.close(ksid)).status, 0);
      assert.equal((await a.getKey(ksid)).status, UNKNOWN_STREAM);
      assert.equal((await a.close(ksid)).status, UNKNOWN_STREAM);
      assert.equal((await b.close(ksid)).status, 0);
      await end();
    });

    it('keeps a stream for its owner: to others it is one that nobody knows', async () => {
      const { a, ksid, end } = await pair();
      const stranger = await door.connect('initiator', 'other');
      assert.equal((await stranger.getKey(ksid)).status, UNKNOWN_STREAM);
      assert.equal((await stranger.close(ksid)).status, UNKNOWN_STREAM);
      assert.equal((await stranger.getKey(randomUUID())).status, UNKNOWN_STREAM);
      assert.equal((await a.getKey(ksid)).status, 0);
      stranger.disconnect();
      await end();
    });

    it('opens nothing for a client that may not, as initiator or as responder, whatever it names', async () => {
      const { a, names, ksid, end } = await pair();
      for (const at of ['initiator', 'responder'] as const) {
        const stranger = await door.connect(at, 'stranger');
        assert.equal((await stranger.open(wish())).status, NOT_ALLOWED);
        assert.equal(
          (await stranger.open(names)).status,
          NOT_ALLOWED,
          'it may not learn that there is such a stream',
        );
        assert.equal((await stranger.getKey(ksid)).status, UNKNOWN_STREAM);
        stranger.disconnect();
      }
      assert.equal((await a.getKey(ksid)).status, 0);
      await end();
    });
  });

  hardCases(door, {
    served,
    async neverReading() {
      const { ksid, end } = await pair();
      const stop = await door.neverReading(ksid);
      return async () => {
        stop();
        await end();
      };
    },
    statuses: { malformed: 1, slow: UNKNOWN_STREAM, stranger: NOT_ALLOWED },
  });
}

/** What a front end of any standard bears, and serves others meanwhile. */
export function hardCases(door: HardDoor, { served, neverReading, statuses }: HardCases): void {
  /** It does not take long, whatever others do. */
  async function servedInTime(): Promise<void> {
    const began = performance.now();
    await served();
    assert.ok(performance.now() - began < SERVED_MS, 'it took too long');
  }

  describe(`front end ${door.name}, whatever its clients do,`, () => {
    it('answers what cannot be read, refuses what is too large, and serves on', async () => {
      assert.equal(await door.malformed(), statuses.malformed);
      await door.oversized();
      await servedInTime();
    });

    it('answers a request that comes in pieces', async () => {
      assert.equal(await door.slow(), statuses.slow);
    });

    it('refuses a client that may not, and serves on', async () => {
      assert.equal(await door.stranger(), statuses.stranger);
      await servedInTime();
    });

    it('serves others beside one that never reads', async () => {
      const stop = await neverReading();
      await servedInTime();
      await stop();
    });

    it(`serves others beside ${IDLE_CONNECTIONS} that say nothing`, async () => {
      const stop = await door.idle(IDLE_CONNECTIONS);
      await servedInTime();
      stop();
    });

    it('serves many streams at once', async () => {
      await Promise.all(Array.from({ length: 20 }, servedInTime));
    });
  });
}
