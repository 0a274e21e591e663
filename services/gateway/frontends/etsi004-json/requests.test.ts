import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseJsonRequest } from './requests.ts';

const LARGEST = 0xffffffff;
const open = (data: object) => parseJsonRequest({ command: 'OPEN_CONNECT', data });
const getKey = (data: object) =>
  parseJsonRequest({ command: 'GET_KEY', data: { key_stream_id: 'id', ...data } });
const refuses = (json: unknown, words: RegExp) =>
  assert.throws(
    () => parseJsonRequest(json),
    (error) => isReason(error, 'BAD_REQUEST') && words.test(String(error)),
    JSON.stringify(json),
  );

describe('parseJsonRequest', () => {
  it('reads an OPEN_CONNECT with all its members', () => {
    const qos = {
      ...{ key_chunk_size: 1, max_bps: 2, min_bps: 3, jitter: 4, priority: 5, timeout: LARGEST, ttl: 7 },
      metadata_mimetype: 'm'.repeat(256),
    };
    assert.deepEqual(open({ source: 'a', destination: 'b', qos, key_stream_id: 'id' }), {
      ...{ command: 'OPEN_CONNECT', source: 'a', destination: 'b', ksid: 'id' },
      qos: {
        ...{ keyChunkSize: 1, maxBps: 2, minBps: 3, jitter: 4, priority: 5, timeoutMs: LARGEST, ttlS: 7 },
        metadataMimetype: 'm'.repeat(256),
      },
    });
  });

  it('leaves to the node whatever of the QoS and the KSID is left out', () => {
    const left = {
      ...{ command: 'OPEN_CONNECT', source: 'a', destination: 'b', ksid: undefined },
      qos: {
        ...{ keyChunkSize: 0, maxBps: 0, minBps: 0, jitter: 0, priority: 0, timeoutMs: 0, ttlS: 0 },
        metadataMimetype: 'application/json',
      },
    };
    assert.deepEqual(open({ source: 'a', destination: 'b' }), left);
    assert.deepEqual(open({ source: 'a', destination: 'b', qos: {}, key_stream_id: null }), left);
    assert.deepEqual(open({ source: 'a', destination: 'b', qos: { max_bps: 0, ttl: 0 } }), left);
  });

  it('names the member of an OPEN_CONNECT that cannot be read', () => {
    const data = { source: 'a', destination: 'b' };
    for (const [change, words] of [
      [{ source: 1 }, /OPEN_CONNECT. data.source: /],
      [{ destination: undefined }, /data.destination: /],
      [{ qos: { ttl: -1 } }, /data.qos.ttl: /],
      [{ qos: { timeout: LARGEST + 1 } }, /data.qos.timeout: /],
      [{ qos: { metadata_mimetype: 'm'.repeat(257) } }, /data.qos.metadata_mimetype: /],
      [{ key_stream_id: 5 }, /data.key_stream_id: /],
    ] as const) {
      refuses({ command: 'OPEN_CONNECT', data: { ...data, ...change } }, words);
    }
  });

  it('reads a GET_KEY; no index, null and 0 are the next one', () => {
    const next = { command: 'GET_KEY', ksid: 'id', index: undefined, metadataRoom: undefined };
    for (const data of [{}, { index: null, metadata: null }, { index: 0 }])
      assert.deepEqual(getKey(data), next);
    assert.deepEqual(getKey({ index: LARGEST, metadata: { size: 0 } }), {
      ...next,
      ...{ index: LARGEST, metadataRoom: 0 },
    });
    assert.deepEqual(getKey({ metadata: { size: LARGEST } }), { ...next, metadataRoom: LARGEST });
  });

  it('refuses what is no whole number of 32 bits, and says which', () => {
    const data = (change: object) => ({ command: 'GET_KEY', data: { key_stream_id: 'id', ...change } });
    for (const wrong of [-1, 1.5, LARGEST + 1, '1', true, {}, Number.NaN]) {
      refuses(data({ index: wrong }), /GET_KEY. data.index must/);
      refuses(data({ metadata: { size: wrong } }), /GET_KEY. data.metadata.size must/);
    }
    for (const metadata of [5, 'x', [], {}]) refuses(data({ metadata }), /data.metadata.size must/);
  });

  it('reads a CLOSE', () => {
    const close = { command: 'CLOSE', data: { key_stream_id: 'id' } };
    assert.deepEqual(parseJsonRequest(close), { command: 'CLOSE', ksid: 'id' });
  });

  it('refuses what is no request, in words', () => {
    for (const json of [null, 'x', 5, [], undefined]) refuses(json, /a request is a JSON object/);
    for (const command of [undefined, 'OPEN', 5]) refuses({ command, data: {} }, /Unknown command/);
    for (const command of ['OPEN_CONNECT', 'GET_KEY', 'CLOSE']) {
      for (const data of [undefined, null, [], 'x']) {
        refuses({ command, data }, new RegExp(`${command}. data must be an object`));
      }
    }
    for (const command of ['GET_KEY', 'CLOSE']) {
      refuses(
        { command, data: { key_stream_id: 7 } },
        new RegExp(`${command}. data.key_stream_id must be a string`),
      );
    }
  });
});
