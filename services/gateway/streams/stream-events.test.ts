import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { keyStream, LIVING } from '#test/helpers/streams.ts';
import type { Chunk } from './chunk-buffer.ts';
import type { Degraded } from './policy/lacking.ts';
import { StreamEvents, type StreamListener } from './stream-events.ts';

const stream = keyStream();
const error = new KeyweaveError('QKD_UNAVAILABLE', 'no link');
const owner = { identity: undefined, address: '127.0.0.1' };

/** Every event, and how it is told. */
const EVENTS: Readonly<Record<keyof StreamListener, (events: StreamEvents) => void>> = {
  opened: (events) => events.opened(stream),
  joined: (events) => events.joined(stream),
  delivered: (events) => events.delivered(stream, 7, 'pqc'),
  refused: (events) => events.refused({ call: 'getKey', owner, error }),
  released: (events) => events.released(stream, 5, 2),
  dropped: (events) => events.dropped(stream, 5, 2, error),
  degraded: (events) => events.degraded(stream, 5, 2, 'qkd'),
  expired: (events) => events.expired(stream),
  closed: (events) => events.closed(stream, 'why'),
};
const NAMES = Object.keys(EVENTS) as (keyof StreamListener)[];

/** A listener to all of it, that notes what it was told. */
function notes(told: unknown[][]): StreamListener {
  return Object.fromEntries(NAMES.map((name) => [name, (...args: unknown[]) => told.push([name, ...args])]));
}

describe('StreamEvents', () => {
  it('tells every listener of everything, once and in their order, in the words of the event', () => {
    const told: unknown[][] = [];
    const events = new StreamEvents([notes(told), notes(told)]);
    for (const name of NAMES) EVENTS[name](events);
    const one = [
      ['opened', stream],
      ['joined', stream],
      ['delivered', stream, 7, 'pqc'],
      ['refused', { call: 'getKey', owner, error }],
      ['released', stream, 5, 2],
      ['dropped', stream, 5, 2, error],
      ['degraded', stream, 5, 2, 'qkd'],
      ['expired', stream],
      ['closed', stream, 'why'],
    ];
    assert.deepEqual(
      told,
      one.flatMap((event) => [event, event]),
    );
  });

  for (const name of NAMES) {
    it(`has a listener that throws at ${name} cost nobody anything else`, () => {
      const [told, faults]: [unknown[][], unknown[]] = [[], []];
      const fault = new Error('as the test says');
      const throws: StreamListener = {
        [name]: () => {
          throw fault;
        },
      };
      const events = new StreamEvents([throws, {}, notes(told)], (thrown) => faults.push(thrown));
      EVENTS[name](events);
      assert.deepEqual([told.length, faults], [1, [fault]]);
    });
  }

  it('tells nobody where nobody listens, and nobody of what throws unless asked to', () => {
    const throws: StreamListener = {
      opened: () => {
        throw new Error('as the test says');
      },
    };
    for (const events of [new StreamEvents(), new StreamEvents([{}]), new StreamEvents([throws])]) {
      for (const name of NAMES) EVENTS[name](events);
    }
  });
});

describe('a stream tells', () => {
  /** A stream whose listener notes what it was told, and not of whom. */
  function noted() {
    const told: unknown[][] = [];
    const all: unknown[][] = [];
    const events = new StreamEvents([notes(all)]);
    const one = keyStream({ events });
    const take = () => {
      told.push(...all.splice(0).map(([name, who, ...rest]) => [name, who === one, ...rest]));
      return told.splice(0);
    };
    return { one, take };
  }
  const fill = (one: ReturnType<typeof keyStream>, first: number, degraded: Degraded) => {
    one.indexes.claim(first, 2);
    one.release(first, Buffer.alloc(64, 1), degraded);
  };

  it('that it was opened and joined, the latter once', () => {
    const { one, take } = noted();
    one.awaitPeer();
    one.join(owner);
    one.peerJoined();
    one.peerJoined();
    assert.deepEqual(take(), [
      ['opened', true],
      ['joined', true],
    ]);
    assert.deepEqual([one.owner, one.local, one.peer], [owner, 'joined', 'joined']);
  });

  it('each batch that is released, and each key that goes to the application, ready or waited for, and none that does not fit', async () => {
    const { one, take } = noted();
    const get = (fits: (chunk: Chunk) => void = () => undefined) => one.take(undefined, 1_000, fits, LIVING);
    const tooSmall = () => {
      throw new KeyweaveError('METADATA_TOO_SMALL', 'no room');
    };
    fill(one, 0, false);
    get();
    assert.throws(() => get(tooSmall));
    get();
    const [misfit, fits] = [get(tooSmall), get()];
    fill(one, 2, false);
    await assert.rejects(Promise.resolve(misfit));
    await fits;
    assert.deepEqual(take(), [
      ['released', true, 0, 2],
      ['delivered', true, 0, false],
      ['delivered', true, 1, false],
      ['released', true, 2, 2],
      ['delivered', true, 3, false],
    ]);
  });

  it('of keys for which a shared_seed stood in, as they are released and as each is read', () => {
    const { one, take } = noted();
    fill(one, 4, 'shared_seed');
    one.take(undefined, 1_000, () => undefined, LIVING);
    assert.deepEqual(take(), [
      ['released', true, 4, 2],
      ['degraded', true, 4, 2, 'shared_seed'],
      ['delivered', true, 4, 'shared_seed'],
    ]);
  });

  it('of batches that were dropped while it lives, and that it is closed, once', () => {
    const { one, take } = noted();
    one.indexes.claim(0, 3);
    one.drop(0, 3, error);
    one.end(new KeyweaveError('UNKNOWN_STREAM', 'the application has closed it'));
    one.end(error);
    one.indexes.claim(3, 1);
    one.drop(3, 1, error);
    one.indexes.claim(4, 2);
    one.release(4, Buffer.alloc(64, 1), 'shared_seed');
    assert.deepEqual(take(), [
      ['dropped', true, 0, 3, error],
      ['closed', true, 'the application has closed it'],
    ]);
    assert.equal(one.indexes.frontier, 6, 'the indexes of an end that is over are accounted for');
  });
});
