import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isOpen, urisOf } from './etsi004-dialect.ts';
import { JSON_DIALECT } from './etsi004-json.ts';

const NODES = { sourceNode: 'node-a', destinationNode: 'node-b' };
const URIS = { source: 'qkd://s@node-a', destination: 'qkd://s@node-b' };
const openRequest = (keyBytes: number, timeoutMs: number, join = '') =>
  JSON_DIALECT.openConnect({ uris: URIS, keyBytes, timeoutMs, join });
const settings = (change: object = {}) => nodeConfigSchema.shape.qkd.parse(change);
const sent = (request: Buffer) =>
  JSON.parse(request.toString()) as {
    command: string;
    data: Record<string, unknown> & { qos: Record<string, unknown> };
  };

describe('the calls of ETSI 004 as JSON', () => {
  it('name each end by the stream, or as the configuration does', () => {
    assert.deepEqual(urisOf(settings(), 's', NODES), URIS);
    const named = settings({ source_application: 'App1', destination_application: 'App4' });
    assert.deepEqual(urisOf(named, 's', NODES), {
      source: 'qkd://App1@node-a',
      destination: 'qkd://App4@node-b',
    });
  });

  it('ask for keys of the size, at the best rate, and for an answer before we give up', () => {
    const { command, data } = sent(openRequest(48, 5_000));
    assert.deepEqual(
      { command, data },
      {
        command: 'OPEN_CONNECT',
        data: {
          ...URIS,
          qos: {
            key_chunk_size: 48,
            max_bps: 500_000,
            min_bps: 0,
            jitter: 0,
            priority: 0,
            timeout: 4_900,
            ttl: 0,
            metadata_mimetype: 'application/json',
          },
        },
      },
    );
    for (const timeoutMs of [50, 100, 101])
      assert.equal(sent(openRequest(48, timeoutMs)).data.qos.timeout, 1, `${timeoutMs}`);
  });

  it('join a stream by its id only where there is one', () => {
    assert.equal(sent(openRequest(48, 5_000, 'kme-1')).data.key_stream_id, 'kme-1');
    assert.ok(!('key_stream_id' in sent(openRequest(48, 5_000, '')).data));
  });

  it('ask for a key by the low 32 bits of its position, with room for metadata', () => {
    for (const [position, index] of [
      [0n, 0],
      [2n ** 32n - 1n, 2 ** 32 - 1],
      [2n ** 32n, 0],
      [3n * 2n ** 32n + 9n, 9],
    ] as const) {
      assert.deepEqual(sent(JSON_DIALECT.getKey('kme-1', position)), {
        command: 'GET_KEY',
        data: { key_stream_id: 'kme-1', index, metadata: { size: 1024, buffer: '' } },
      });
    }
  });

  it('take a stream for open where it is, on whatever QoS', () => {
    const open = (answer: object) => isOpen(JSON_DIALECT.read(answer));
    assert.equal(open({ status: 0, key_stream_id: 'k' }), true);
    assert.equal(open({ status: 7, key_stream_id: 'k', qos: { key_chunk_size: 24 } }), true);
    assert.equal(open({ status: 0 }), false);
    assert.equal(open({ status: 0, key_stream_id: '' }), false);
    assert.equal(open({ status: 7, key_stream_id: 'k' }), false, 'refused for its QoS');
    assert.equal(open({ status: 7, key_stream_id: 'k', qos: {} }), false);
    assert.equal(open({ status: 5, key_stream_id: 'k', qos: { key_chunk_size: 24 } }), false);
  });
});
