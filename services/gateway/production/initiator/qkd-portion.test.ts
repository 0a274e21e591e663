import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { keyStream, termsOf } from '#test/helpers/streams.ts';
import type { InitiatorReservoir } from '../../reservoirs/initiator/initiator-reservoir.ts';
import type { QkdGrant } from '../../reservoirs/initiator/qkd-grant.ts';
import type { Reservoirs } from '../../reservoirs/reservoirs.ts';
import { keysOf, QkdPortion } from './qkd-portion.ts';

const KEY_BYTES = 32;

let done: unknown[];
let told: string[];
let lacking: number;
let asked: boolean;
let portion: QkdPortion;

const grantOf = (keys: number) => ({ keys: Buffer.alloc(keys * KEY_BYTES) }) as QkdGrant;

/** A reservoir that notes what it is asked for. */
const reservoir = {
  join: () => done.push('join'),
  leave: () => done.push('leave'),
  ask: () => done.push('ask'),
  warm: () => done.push('warm'),
  isAskedBy: () => asked,
  trim: ({ keys }: QkdGrant, count: number) => ({ keys: keys.subarray(0, count * KEY_BYTES) }),
  reference: (grant: QkdGrant) => `reference of ${keysOf(grant)}`,
  giveBack: (grant: QkdGrant) => done.push(['giveBack', keysOf(grant)]),
  burn: (grant: QkdGrant, count: number, why: string) => done.push(['burn', keysOf(grant), count, why]),
  use: (_: QkdGrant, count: number) => Buffer.alloc(count * KEY_BYTES, 1),
} as unknown as InitiatorReservoir;

/** A stream whose chunks take two QKD keys each. */
function begin(minBps = 0): void {
  const stream = keyStream({ terms: termsOf('hkdf-sha384', ['QKD', 'ML-KEM-768', 'QKD']), qos: { minBps } });
  const reservoirs = {
    initiator: () => reservoir,
    leaveInitiator: () => done.push('over'),
  } as unknown as Reservoirs;
  portion = new QkdPortion(
    stream,
    reservoirs,
    {
      get lacking() {
        return lacking;
      },
      ...{ urgent: true, replaceable: false, weight: 3 },
      invited: () => told.push('invited'),
      granted: () => told.push('granted'),
      failed: (error) => told.push(error.reason),
    },
    () => 7,
  );
}

beforeEach(() => {
  [done, told, lacking, asked] = [[], [], 4, false];
  begin();
});

describe("a stream's part of its reservoir", () => {
  it('wants the keys of what it could offer, once, and passes on what comes of it', () => {
    assert.deepEqual([portion.qkdSlots, portion.qkdWanted, portion.urgent, portion.weight], [2, 8, true, 3]);
    portion.ask();
    portion.granted(grantOf(6));
    portion.ask();
    assert.deepEqual([done, portion.qkdWanted, portion.chunks], [['join', 'ask'], 0, 3]);
    portion.qkdFailed(new KeyweaveError('INSUFFICIENT_KEY', 'dry'));
    assert.deepEqual(told, ['granted', 'INSUFFICIENT_KEY']);
  });

  it('comes along with others only where it neither has keys nor waits for them', () => {
    portion.invite();
    asked = true;
    portion.invite();
    asked = false;
    portion.granted(grantOf(2));
    portion.invite();
    assert.deepEqual(told, ['invited', 'granted']);
  });

  it('takes the keys of a batch, with their name, and no more', () => {
    assert.throws(() => portion.take(1), TypeError);
    portion.granted(grantOf(6));
    const { grant, qkd } = portion.take(2);
    assert.deepEqual([keysOf(grant), qkd, portion.chunks], [4, 'reference of 4', 0]);
    assert.equal(portion.use(grant, 2).length, 4 * KEY_BYTES);
  });

  it('gives back what the other end has not taken, and burns what it has, never more than there is', () => {
    portion.drop(grantOf(4), 0, 'NO_ROOM');
    portion.drop(grantOf(4), 2, 'TIMEOUT');
    portion.drop(grantOf(4), 1_000_000, 'a lie');
    assert.deepEqual(done.slice(1), [
      ['giveBack', 4],
      ['burn', 4, 2, 'TIMEOUT'],
      ['burn', 4, 4, 'a lie'],
    ]);
  });

  it('is over once: its keys go back, and the reservoir is left', () => {
    portion.granted(grantOf(2));
    portion.stop();
    portion.stop();
    assert.deepEqual(done.slice(1), [['giveBack', 2], 'leave', 'over']);
  });

  it('promises what its min_bps needs, in QKD keys a second', () => {
    assert.equal(portion.promised, 0);
    begin(2_560);
    // Ten chunks of 32 bytes a second, of two keys each.
    assert.equal(portion.promised, 20);
  });
});
