import assert from 'node:assert/strict';
import crypto, { randomBytes } from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import { describe, it, mock } from 'node:test';
import { inspect } from 'node:util';
import { GivenKeys } from './given-keys.ts';

describe('GivenKeys', () => {
  it('lets fresh keys pass, of any size and in any number', () => {
    const given = new GivenKeys();
    for (const [count, keyBytes] of [
      [5000, 32],
      [300, 512],
      [50, 16],
      [50, 33],
      [2, 65_536],
    ] as const) {
      assert.equal(given.faultOf('s', randomBytes(count * keyBytes), keyBytes), undefined, `${keyBytes}`);
    }
  });

  it('lets pass what is too short to be told from chance', () => {
    const given = new GivenKeys();
    assert.equal(given.faultOf('s', Buffer.alloc(8 * 15), 15), undefined);
    // A whole secret, and one byte behind it that is zero each time.
    const keys = Buffer.concat([randomBytes(32), Buffer.alloc(1), randomBytes(32), Buffer.alloc(1)]);
    assert.equal(given.faultOf('s', keys, 33), undefined);
  });

  it('finds a secret again wherever in a block it lies', () => {
    const given = new GivenKeys();
    const secret = randomBytes(32);
    assert.equal(given.faultOf('a', Buffer.concat([randomBytes(480), secret]), 512), undefined);
    assert.equal(given.faultOf('b', secret, 32), 'repeated');
    assert.equal(given.faultOf('c', Buffer.concat([randomBytes(64), secret]), 96), 'repeated');
  });

  it('finds a secret of a stream again that others have long outrun', () => {
    const given = new GivenKeys();
    const secret = randomBytes(32);
    assert.equal(given.faultOf('slow', secret, 32), undefined);
    given.faultOf('slow', randomBytes(4095 * 32), 32);
    for (let i = 0; i < 150; i++) given.faultOf('fast', randomBytes(1024 * 32), 32);
    assert.equal(given.faultOf('slow', secret, 32), 'repeated');
  });

  it('knows the last 65536 of all streams, of closed ones too', () => {
    const given = new GivenKeys();
    const secret = randomBytes(32);
    assert.equal(given.faultOf('closed', secret, 32), undefined);
    given.forget('closed');
    assert.equal(given.bytes, 0);
    given.faultOf('other', randomBytes(65_535 * 32), 32);
    assert.equal(given.faultOf('new', secret, 32), 'repeated');
  });

  it('tells zeros and repetitions from other secrets, down to 16 bytes', () => {
    const given = new GivenKeys();
    const short = randomBytes(16);
    assert.equal(given.faultOf('s', short, 16), undefined);
    assert.equal(given.faultOf('t', short, 16), 'repeated');
    assert.equal(given.faultOf('s', Buffer.alloc(16), 16), 'zero');
    const nearly = Buffer.alloc(64);
    nearly[31] = 1;
    nearly[62] = 1;
    assert.equal(given.faultOf('s', nearly, 32), undefined);
    assert.equal(given.faultOf('s', Buffer.concat([randomBytes(32), Buffer.alloc(16)]), 48), 'zero');
    assert.equal(given.faultOf('s', Buffer.concat([Buffer.alloc(15), randomBytes(15)]), 15), undefined);
  });

  it('takes a secret and the same one with something behind it for two', () => {
    const given = new GivenKeys();
    const secret = randomBytes(32);
    assert.equal(given.faultOf('s', secret, 32), undefined);
    assert.equal(given.faultOf('s', secret.subarray(0, 16), 16), undefined);
    assert.equal(given.faultOf('s', Buffer.concat([secret, secret]), 64), 'repeated');
  });

  it('keeps what it knows of the streams that are used, where there is no room for all', () => {
    const room = new GivenKeys();
    room.faultOf('one', randomBytes(32), 32);
    const ofOne = room.bytes;
    room.faultOf('one', randomBytes(32), 32);
    assert.equal(room.bytes, ofOne, 'not counted twice');
    room.forget('unknown');
    assert.equal(room.bytes, ofOne);
    const given = new GivenKeys(2 * ofOne);
    for (const stream of ['a', 'b', 'a', 'c']) given.faultOf(stream, randomBytes(32), 32);
    assert.equal(given.bytes, 2 * ofOne);
    given.forget('b');
    assert.equal(given.bytes, 2 * ofOne, 'b was used longest ago, and is gone already');
    given.forget('a');
    assert.equal(given.bytes, ofOne);
  });

  it('holds a bounded memory, and none of streams that are forgotten', () => {
    const given = new GivenKeys(1024 * 1024);
    for (let stream = 0; stream < 100; stream++) given.faultOf(`${stream}`, randomBytes(1024 * 32), 32);
    assert.ok(given.bytes <= 1024 * 1024, `${given.bytes} bytes`);
    assert.ok(given.bytes > 512 * 1024, 'the newest are kept');
    for (let stream = 0; stream < 100; stream++) given.forget(`${stream}`);
    assert.equal(given.bytes, 0);
  });

  it('keeps nothing of a secret, and says nothing of it', () => {
    const digested: Buffer[] = [];
    const { hash } = crypto;
    mock.method(crypto, 'hash', (algorithm: string, data: Buffer, encoding: 'buffer') => {
      digested.push(data);
      return hash(algorithm, data, encoding);
    });
    syncBuiltinESMExports();
    try {
      const given = new GivenKeys();
      for (const [secret, keyBytes] of [
        [Buffer.alloc(32, 0xc5), 32],
        [Buffer.alloc(16, 0xc5), 16],
        [Buffer.alloc(32, 0xc5), 32],
      ] as const)
        given.faultOf('s', secret, keyBytes);
      assert.equal(digested.length, 3);
      for (const memory of digested)
        assert.ok(
          memory.subarray(16).every((byte) => byte === 0),
          'wiped',
        );
      assert.doesNotMatch(inspect(given, { depth: 9, showHidden: true }), /c5c5|197,/);
    } finally {
      mock.restoreAll();
      syncBuiltinESMExports();
    }
  });
});
