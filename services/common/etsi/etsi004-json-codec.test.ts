import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { decodeKeyBuffer, jsonQos, parseJsonAnswer, qosOfJson } from '#common/etsi/etsi004-json-codec.ts';

describe('decodeKeyBuffer', () => {
  it('reads lists, hex and base64 of every size apart', () => {
    for (let size = 2; size < 200; size++) {
      const key = randomBytes(size);
      const forms = [
        [...key],
        key.toString('hex'),
        key.toString('hex').toUpperCase(),
        key.toString('base64'),
        key.toString('base64').replace(/=+$/, ''),
        key.toString('base64url'),
      ];
      for (const form of forms) assert.deepEqual(decodeKeyBuffer(form, size), key);
    }
  });

  it('takes hex that is also valid base64 for what its length says', () => {
    const key = Buffer.alloc(32, 0xab);
    assert.deepEqual(decodeKeyBuffer('ab'.repeat(32), 32), key);
    assert.equal(decodeKeyBuffer('ab'.repeat(32), 48).length, 48);
  });

  it('never guesses for one byte, where hex and base64 may look the same', () => {
    for (let byte = 0; byte < 256; byte++) {
      const key = Buffer.from([byte]);
      assert.deepEqual(decodeKeyBuffer([byte], 1), key);
      assert.deepEqual(decodeKeyBuffer(key.toString('base64'), 1), key);
      for (const text of [key.toString('hex'), key.toString('base64url')]) {
        const alike =
          /^[0-9a-f]{2}$/i.test(text) && Buffer.from(text, 'base64').toString('base64url') === text;
        if (alike) assert.throws(() => decodeKeyBuffer(text, 1), /QKD_UNAVAILABLE/);
        else assert.deepEqual(decodeKeyBuffer(text, 1), key);
      }
    }
  });

  it('has one reading at most for any text of a given size', () => {
    for (let n = 2; n <= 65_536; n++) {
      const unpadded = Math.ceil((n * 4) / 3);
      const padded = Math.ceil(n / 3) * 4;
      assert.notEqual(unpadded, 2 * n);
      // Where padded base64 is as long as hex, it is longer than unpadded: it ends in '=', which no hex does.
      if (padded === 2 * n) assert.ok(padded > unpadded);
    }
  });

  it('takes no base64 that is not the one of its key', () => {
    const key = Buffer.from('0123456789abcdef0123456789abcdef'.repeat(2), 'hex');
    const text = key.toString('base64');
    const last = text.at(-2) as string;
    const dirty = `${text.slice(0, -2)}${String.fromCharCode(last.charCodeAt(0) + 1)}`;
    const bad = [
      dirty,
      `${dirty}=`,
      `${text}=`,
      `${text.slice(0, -1)}==`,
      ` ${text}`,
      `${text}\n`,
      `=${text.slice(1)}`,
    ];
    bad.push(`+_${text.slice(2)}`, text.slice(0, -2), `${text.slice(0, -2)}é`);
    for (const value of bad) assert.throws(() => decodeKeyBuffer(value, 32), /QKD_UNAVAILABLE/);
  });

  it('survives whatever comes', () => {
    const alphabet = 'aF0+/-_=é \0';
    for (let round = 0; round < 5000; round++) {
      const size = randomInt(1, 40);
      const length = [2 * size, Math.ceil(size / 3) * 4, Math.ceil((size * 4) / 3), size][
        randomInt(4)
      ] as number;
      const text = Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
      try {
        assert.equal(decodeKeyBuffer(text, size).length, size);
      } catch (error) {
        assert.ok(isReason(error, 'QKD_UNAVAILABLE'));
      }
    }
  });

  it('refuses wrong lengths and values without repeating them', () => {
    const bad: unknown[] = [
      [1, 2],
      new Array(32).fill(256),
      new Array(32).fill('1'),
      'zz'.repeat(32),
      'ab'.repeat(31),
      null,
      7,
      {},
    ];
    for (const value of bad) {
      assert.throws(
        () => decodeKeyBuffer(value, 32),
        (error: Error) => isReason(error, 'QKD_UNAVAILABLE') && !error.message.includes('abab'),
      );
    }
  });
});

describe('parseJsonAnswer', () => {
  it('reads the reference error with its text status', () => {
    const answer = parseJsonAnswer({ status: 'error', message: 'Unknown command' });
    assert.deepEqual([answer.status, answer.message], [-1, 'Unknown command']);
  });

  it('reads the answers of the relatives', () => {
    const upm = parseJsonAnswer({
      status: 0,
      key_buffer: [1],
      index: 4,
      metadata: { size: 2, buffer: '{}' },
    });
    assert.deepEqual([upm.index, upm.metadata, upm.qos], [4, { size: 2, buffer: '{}' }, undefined]);
    assert.equal(parseJsonAnswer({ status: 0, key_stream_id: 'k', qos: null }).key_stream_id, 'k');
    const netSim = parseJsonAnswer({
      Status: 0,
      Key_stream_ID: 'k',
      QoS: { Key_chunk_size: 32 },
      Key_buffer: 'x',
    });
    assert.deepEqual(
      [netSim.status, netSim.key_stream_id, netSim.qos?.key_chunk_size, netSim.key_buffer],
      [0, 'k', 32, 'x'],
    );
    const odd = parseJsonAnswer({
      status: 1.5,
      message: 7,
      key_stream_id: 8,
      index: '0',
      metadata: [],
      qos: 'x',
    });
    assert.deepEqual(
      [odd.status, odd.message, odd.key_stream_id, odd.index, odd.metadata, odd.qos],
      [-1, '', undefined, undefined, undefined, undefined],
    );
  });

  it('refuses what is no answer', () => {
    for (const json of [null, [], 'x', {}]) assert.throws(() => parseJsonAnswer(json), /QKD_UNAVAILABLE/);
  });
});

describe('the QoS of the JSON dialect', () => {
  const qos = {
    ...{ keyChunkSize: 32, maxBps: 1, minBps: 2, jitter: 3, priority: 4, timeoutMs: 5, ttlS: 6 },
    metadataMimetype: '',
  };

  it('is read as it was written', () => {
    assert.deepEqual(qosOfJson(jsonQos(qos)), qos);
  });

  it('has what it leaves out from elsewhere, else from the node that is asked', () => {
    assert.deepEqual(qosOfJson({ ttl: 60 }, qos), { ...qos, ttlS: 60 });
    const { metadataMimetype, ...numbers } = qosOfJson({});
    assert.equal(metadataMimetype, 'application/json');
    assert.deepEqual([...new Set(Object.values(numbers))], [0]);
  });
});
