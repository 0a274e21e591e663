import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { ALICE, BOB, idleInitiator, type Openings, opened, openingsOf, QOS } from '#test/helpers/openings.ts';
import type { KeyStream } from '../streams/key-stream.ts';
import type { OpenConnect } from './key-delivery.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const OWNER = { identity: 'spiffe://apps/alice', address: '10.0.0.1:5' };
const DEFAULTS = { method: 'hkdf-sha384', keySources: ['ML-KEM-768', 'QKD'] };
const SIGNAL = new AbortController().signal;

let alice: Openings;
beforeEach(() => {
  alice = openingsOf(ALICE);
  // The other node takes the offer; its application has not come.
  alice.peerOf(BOB).script.open = async () => opened({ joined: false });
});

const open = (change: Partial<OpenConnect> = {}) =>
  alice.delivery.open({
    ...{ source: 'client://a', destination: 'server://b', peer: BOB, ksid: KSID, qos: QOS },
    ...{ presence: 'app', atOnce: true, defaults: DEFAULTS, owner: OWNER, signal: SIGNAL },
    ...change,
  });

const getKey = () => alice.delivery.getKey({ ksid: KSID, owner: OWNER, signal: SIGNAL });

describe('an OPEN_CONNECT that is answered at once', () => {
  it('has no key made, and gives none, before the other application has come', async () => {
    assert.equal((await open()).ksid, KSID);
    const stream = alice.store.get(KSID) as KeyStream;
    assert.deepEqual([stream.local, stream.peer], ['joined', 'absent']);
    assert.deepEqual(idleInitiator(stream).wanted, []);
    assert.throws(getKey, (error) => isReason(error, 'PEER_APPLICATION_ABSENT'));
    stream.peerJoined();
    stream.release(0, Buffer.alloc(32, 7), false);
    const delivered = await getKey();
    assert.equal(delivered.index, 0);
  });

  it('gives keys without it where the peer’s node is enough', async () => {
    await open({ presence: 'node' });
    await alice.clock.settle();
    const stream = alice.store.get(KSID) as KeyStream;
    // It may make keys, and makes none of QKD before the first is asked for.
    assert.deepEqual(idleInitiator(stream).wanted, [0]);
    stream.release(0, Buffer.alloc(32, 7), false);
    assert.equal((await getKey()).index, 0);
  });

  it('of a peer alone names the stream by its KSID, which it draws where there is none', async () => {
    const { ksid } = await open({ ksid: undefined });
    const stream = alice.store.get(ksid) as KeyStream;
    assert.deepEqual(
      [stream.terms.source, stream.terms.destination, stream.predefined, stream.role],
      [`hybrid://${ksid}@${ALICE}`, `hybrid://${ksid}@${BOB}`, true, 'initiator'],
    );
    await assert.rejects(open({ ksid }), (error) => isReason(error, 'KSID_IN_USE'));
  });

  it('goes to trusted peers only', async () => {
    const stranger = 'eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee';
    for (const peer of [stranger, ALICE])
      await assert.rejects(open({ peer }), (error) => isReason(error, 'NO_ROUTE'));
  });
});
