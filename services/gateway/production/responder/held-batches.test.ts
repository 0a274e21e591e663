import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import {
  batches,
  begin,
  clock,
  confirm,
  dropped,
  held,
  offer,
  producer,
  refuses,
  stream,
  TAG,
} from '#test/helpers/held-batches-bench.ts';

const FAILURE = new KeyweaveError('QKD_UNAVAILABLE', 'as the test says');

beforeEach(() => begin());

describe('HeldBatches', () => {
  it('releases nothing before the tags of the initiator, and all of the batch then', () => {
    held(0, 3, 1);
    assert.equal(stream.buffer.size, 0);
    assert.equal(batches.coming, 3);
    assert.equal(confirm(0, 3), true);
    assert.equal(stream.buffer.size, 3);
    assert.equal(batches.coming, 0);
  });

  it('decides once: asked again it gives the same answer, whatever comes along', () => {
    held(0, 1, 1);
    assert.equal(confirm(0, 1, Buffer.alloc(32, 8)), false);
    assert.equal(confirm(0, 1), false, 'a batch that was dropped came back');
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    assert.equal(confirm(1, 1, Buffer.alloc(32, 8)), true);
    assert.equal(stream.buffer.size, 1);
  });

  it('drops and wipes a batch with a wrong tag, a wrong count or none at all', () => {
    for (const [first, count, tags] of [
      [0, 2, Buffer.alloc(64, 8)],
      [2, 1, TAG],
      [4, 2, Buffer.alloc(0)],
    ] as const) {
      const keys = held(first, 2, 5);
      assert.equal(
        batches.confirm({
          ...{ keyStreamId: stream.idBytes, incarnation: stream.incarnation },
          ...{ firstIndex: first, count, initiatorTags: tags },
        }).released,
        false,
      );
      assert.ok(keys.every((byte) => byte === 0));
    }
    assert.equal(stream.buffer.size, 0);
    assert.equal(stream.indexes.frontier, 6, 'the indexes of dropped batches are burned');
  });

  it('asks again for those who counted on a batch that failed', async () => {
    const { wanted } = producer;
    batches.admit(offer(0, 2));
    const waiting = stream.take(undefined, 50, () => undefined, new AbortController().signal);
    assert.deepEqual(wanted, [0], 'it is on its way');
    batches.fail(FAILURE);
    assert.ok((wanted[1] ?? 0) > 0, `${wanted}`);
    const ended = assert.rejects(waiting as Promise<unknown>, /TIMEOUT/);
    await clock.advance(50);
    await ended;
  });

  it('holds several unconfirmed batches, releases in the order of indexes, and drops what is older', () => {
    const first = held(0, 1, 1);
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    assert.ok(first.every((byte) => byte === 0));
    assert.equal(confirm(0, 1), false);
    assert.deepEqual([stream.buffer.take()?.index, stream.buffer.take()], [1, undefined]);
    const many = [2, 3, 4, 5, 6].map((index) => held(index, 1, index));
    assert.ok(
      many[0]?.every((byte) => byte === 0),
      'more are held than anybody can use',
    );
    assert.equal(confirm(6, 1), true);
  });

  it('wipes what is unconfirmed at its end, and takes nothing after it', () => {
    const keys = held(0, 2, 1);
    const batch = offer(2, 1);
    batches.admit(batch);
    batches.stop();
    assert.ok(keys.every((byte) => byte === 0));
    const late = Buffer.alloc(32, 9);
    assert.throws(() => batches.hold(batch, { count: 1, keys: late, initiatorTags: TAG }), /UNKNOWN_STREAM/);
    assert.ok(late.every((byte) => byte === 0));
    refuses(offer(3, 1), 'UNKNOWN_STREAM');
  });

  it('says of each key whether a shared_seed stood in for a source of it', () => {
    begin({ allowDegraded: true });
    for (const [firstIndex, degradedSlot] of [
      [0, 0],
      [1, 2],
    ] as const) {
      const batch = offer(firstIndex, 1, degradedSlot === 0 ? {} : { degradedSlot, qkd: undefined });
      batches.admit(batch);
      batches.hold(batch, { count: 1, keys: Buffer.alloc(32), initiatorTags: TAG });
      confirm(firstIndex, 1);
      assert.equal(stream.buffer.take()?.degraded, degradedSlot !== 0 && 'shared_seed');
    }
  });

  it('drops a batch that is never confirmed, after its time and not before', async () => {
    const keys = held(0, 1, 1);
    held(1, 1, 2);
    assert.equal(confirm(1, 1), true);
    const late = held(2, 1, 3);
    await clock.advance(119_999);
    assert.equal(batches.coming, 1, 'it was dropped too early');
    await clock.advance(1);
    assert.ok([...keys, ...late].every((byte) => byte === 0));
    assert.equal(batches.coming, 0);
    assert.equal(confirm(2, 1), false);
    assert.deepEqual([stream.buffer.size, stream.indexes.frontier], [1, 3]);
  });

  it('leaves no timer behind for a batch that is decided', () => {
    const { pending } = clock;
    held(0, 1, 1);
    confirm(0, 1);
    held(1, 1, 1);
    confirm(1, 1, Buffer.alloc(32, 8));
    assert.equal(clock.pending, pending);
  });

  it('holds four unconfirmed batches and no fifth', () => {
    const keys = [0, 1, 2, 3].map((index) => held(index, 1, 1));
    assert.ok(keys.every((key) => key.every((byte) => byte === 1)));
    held(4, 1, 1);
    assert.deepEqual(
      keys.map((key) => key[0]),
      [0, 1, 1, 1],
    );
    assert.equal(stream.indexes.frontier, 1, 'the index of what was dropped is burned, and no other');
  });

  it('keeps newer batches when an older one is dropped or confirmed', () => {
    held(0, 1, 1);
    held(1, 1, 2);
    held(2, 1, 3);
    assert.equal(confirm(0, 1, Buffer.alloc(32, 8)), false);
    assert.equal(confirm(1, 1), true);
    assert.equal(confirm(2, 1), true);
    assert.equal(stream.buffer.size, 2);
  });

  it('gives an index up only once nothing before it can come', async () => {
    held(0, 2, 1);
    batches.admit(offer(2, 2));
    const waiting = assert.rejects(
      stream.buffer.wait(3, 10_000, () => 'late', new AbortController().signal),
      /index 3 has been taken, or was dropped/,
    );
    batches.fail(FAILURE);
    assert.deepEqual(
      [stream.indexes.frontier, stream.buffer.waiting],
      [0, 1],
      'the first batch is still open',
    );
    confirm(0, 2);
    await waiting;
    assert.equal(stream.indexes.frontier, 4);
    batches.admit(offer(4, 2));
    batches.stop();
    assert.equal(stream.indexes.frontier, 4, 'the batch that is being made is still open');
    batches.fail(FAILURE);
    assert.equal(stream.indexes.frontier, 6);
  });

  it('gives the indexes up of what it could not hold any more, and says so', () => {
    const batch = offer(0, 2);
    batches.admit(batch);
    batches.stop();
    const keys = { count: 2, keys: Buffer.alloc(64), initiatorTags: Buffer.alloc(64) };
    assert.throws(() => batches.hold(batch, keys), /UNKNOWN_STREAM/);
    batches.fail(FAILURE);
    assert.deepEqual([batches.coming, stream.indexes.frontier], [0, 2]);
    assert.deepEqual(dropped, [[0, 2, 'QKD_UNAVAILABLE']]);
  });

  it('tells once of every batch that is dropped: which indexes, and why', () => {
    batches.admit(offer(0, 2));
    batches.fail(FAILURE);
    batches.fail(FAILURE);
    held(2, 3, 1);
    confirm(2, 3, Buffer.alloc(32, 8));
    confirm(2, 3, Buffer.alloc(32, 8));
    held(5, 1, 1);
    confirm(5, 1);
    held(6, 1, 1);
    batches.stop();
    batches.stop();
    assert.deepEqual(dropped, [
      [0, 2, 'QKD_UNAVAILABLE'],
      [2, 3, 'AGREEMENT_FAILED'],
      [6, 1, 'AGREEMENT_FAILED'],
    ]);
  });

  it('remembers what it has released, however many batches come to nothing after it', () => {
    held(0, 1, 1);
    assert.equal(confirm(0, 1), true);
    for (let index = 1; index < 40; index++) {
      batches.admit(offer(index, 1));
      batches.fail(FAILURE);
    }
    for (let index = 40; index < 80; index++) held(index, 1, 1);
    assert.equal(confirm(0, 1), true, 'the initiator would drop what this end has given away');
  });

  it('remembers its last sixteen decisions, and takes what it does not know for dropped', () => {
    for (let index = 0; index < 17; index++) {
      held(index, 1, 1);
      assert.equal(confirm(index, 1), true);
      stream.buffer.take();
    }
    assert.deepEqual(
      [0, 1, 16, 99].map((index) => confirm(index, 1)),
      [false, true, true, false],
    );
  });

  it('takes no batch with its count changed on the way, though the tags are those of all of it', () => {
    const keys = held(0, 2, 5);
    const initiatorTags = Buffer.alloc(64, TAG);
    const { keyStreamId, incarnation } = offer(0, 2);
    const decision = batches.confirm({ keyStreamId, incarnation, firstIndex: 0, count: 1, initiatorTags });
    assert.equal(decision.released, false);
    assert.ok(keys.every((byte) => byte === 0));
  });
});
