import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  headed,
  MAX_OPEN_BYTES,
  readClose,
  readGetKey,
  readOpenConnect,
  writeClose,
  writeGetKey,
  writeOpenConnect,
} from '#common/etsi/etsi004-binary-codec.ts';
import { BinaryFramer } from '#common/etsi/etsi004-binary-framer.ts';
import type { KeyDelivery } from '../../services/gateway/delivery/key-delivery.ts';
import { BinaryCalls } from '../../services/gateway/frontends/etsi004-binary/calls.ts';
import { parseBinaryRequest } from '../../services/gateway/frontends/etsi004-binary/requests.ts';
import { ForeignUris } from '../../services/gateway/frontends/foreign-uris.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const MAX_BYTES = 16_384;
const KSID = '11111111-1111-4111-8111-111111111111';
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 40_000, minBps: 0, jitter: 0, priority: 7, timeoutMs: 5_000, ttlS: 3_600 },
  metadataMimetype: 'application/json',
};

const MESSAGES = [
  writeOpenConnect({ source: 'client://a', destination: 'server://b', qos: QOS, ksid: KSID }),
  writeGetKey({ ksid: KSID, index: 0xffff_ffff, metadataRoom: 1_024 }),
  writeClose(KSID),
  headed(0x06, Buffer.alloc(8 + 40)),
];

/** What once was, or easily could be, trouble: lengths at every bound, types of either sign, other protocols. */
const CORPUS = [
  Buffer.alloc(0),
  Buffer.alloc(8),
  Buffer.alloc(300, 0xff),
  Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  Buffer.from('{"command":"OPEN_CONNECT","data":{}}'),
  Buffer.from('160301020001000001fc0303', 'hex'),
  ...[0, 1, 301, 302, 303, MAX_OPEN_BYTES, MAX_OPEN_BYTES + 1].map((bytes) =>
    headed(0x02, Buffer.alloc(8 + bytes)),
  ),
  ...[23, 24, 25].map((bytes) => headed(0x04, Buffer.alloc(8 + bytes, 0xff))),
  ...[15, 16, 17].map((bytes) => headed(0x08, Buffer.alloc(8 + bytes))),
  ...[-128, -1, 0, 3, 127].map((type) => headed(type, Buffer.alloc(9))),
  lengthOf(0x02, MAX_BYTES),
  lengthOf(0x02, MAX_BYTES + 1),
  lengthOf(0x04, 0xffff_ffff),
  lengthOf(-1, 0x8000_0000),
];

function lengthOf(type: number, bytes: number): Buffer {
  const header = headed(type, Buffer.alloc(8));
  header.writeUInt32BE(bytes, 4);
  return header;
}

const conversation = fc.oneof(
  fc
    .array(fc.oneof(fc.constantFrom(...MESSAGES, ...CORPUS), mutated([...MESSAGES, ...CORPUS])), {
      minLength: 1,
      maxLength: 4,
    })
    .map((parts) => Buffer.concat(parts)),
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
);
const segments = fc.array(fc.nat(MAX_BYTES), { maxLength: 8 });

/** What a framer finds in `input`, cut at `cuts`, in words. */
function framed(input: Buffer, cuts: readonly number[], look: (payload: Buffer) => void = () => undefined) {
  const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
  const found: string[] = [];
  let from = 0;
  for (const cut of [...cuts.filter((at) => at < input.length).sort((a, b) => a - b), input.length]) {
    // Lent as a connection lends it: what was given is not looked at again.
    const segment = Buffer.from(input.subarray(from, cut));
    let at = 0;
    for (;;) {
      const frame = framer.next(segment, at);
      assert.ok(framer.end >= at && framer.end <= segment.length, 'it does not go on');
      at = framer.end;
      if (!frame) break;
      if ('payload' in frame) look(frame.payload);
      found.push(
        'payload' in frame
          ? `${frame.type} ${frame.payload.toString('hex')}`
          : `${frame.type} ${frame.error} ${frame.bytes}`,
      );
      onlyKeyweaveErrors(() => parseBinaryRequest(frame));
    }
    assert.equal(at, segment.length, 'bytes are left');
    assert.ok(framer.pending <= 8 + MAX_BYTES, `${framer.pending} bytes are under way`);
    segment.fill(0xdb);
    from = cut;
  }
  return found;
}

const examples = CORPUS.flatMap((input): [Buffer, number[]][] => [
  [input, []],
  [input, [1, 2, 3, 4, 5, 6, 7, 8, 9]],
]);

describe('messages of the binary protocol', () => {
  it('are found alike however they are cut, and read or refused', () => {
    fc.assert(
      fc.property(conversation, segments, (input, cuts) => {
        assert.deepEqual(framed(input, cuts), framed(input, []));
      }),
      { ...fuzzParameters(20_000), examples },
    );
  });

  it('hold no more than a message whose length can be right', () => {
    fc.assert(
      fc.property(conversation, segments, (input, cuts) => {
        framed(input, cuts, (payload) => assert.ok(payload.length <= MAX_OPEN_BYTES));
      }),
      { ...fuzzParameters(5_000), examples },
    );
  });

  it('are read as they were written', () => {
    const record = <T>(of: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
      fc.record(of, { noNullPrototype: true });
    const u32 = fc.nat({ max: 0xffff_ffff });
    const text = fc.string({ maxLength: 60, unit: 'grapheme' }).map((any) => any.replaceAll('\0', ''));
    const ksid = fc.uuid({ version: 4 });
    const message = record({
      source: text,
      destination: text,
      ksid: fc.option(ksid, { nil: undefined }),
      qos: record({
        ...{ keyChunkSize: u32, maxBps: u32, minBps: u32, jitter: u32, priority: u32 },
        ...{ timeoutMs: u32, ttlS: u32, metadataMimetype: fc.constantFrom('', 'application/json', 'ä/b') },
      }),
    });
    fc.assert(
      fc.property(message, ksid, u32, u32, (open, id, index, metadataRoom) => {
        assert.deepEqual(readOpenConnect(writeOpenConnect(open).subarray(8)), open);
        const getKey = { ksid: id, index, metadataRoom };
        assert.deepEqual(readGetKey(writeGetKey(getKey).subarray(8)), getKey);
        assert.equal(readClose(writeClose(id).subarray(8)), id);
      }),
      fuzzParameters(5_000),
    );
  });

  it('are each answered by one message of the next type, but those of unknown types', async () => {
    const node = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
    const delivery = { open: async () => Promise.reject(new Error('x')), getKey: fail, close: fail };
    const calls = new BinaryCalls({
      client: {
        owner: { identity: undefined, address: '127.0.0.1:1' },
        ...{ gone: new AbortController().signal, silent: new AbortController().signal },
      },
      delivery: delivery as unknown as KeyDelivery,
      settings: {
        ...{ peer_presence: 'app', default_method: 'xoring', default_key_sources: ['QKD'], max_bps: 0 },
      },
      uris: new ForeignUris({ nodeUuid: node, peers: {}, settings: { peers: {} } }),
      log: { debug: quiet, info: quiet, warning: quiet, error: quiet },
      refusals: { line: quiet },
    });
    await fc.assert(
      fc.asyncProperty(conversation, async (input) => {
        const framer = new BinaryFramer({ maxBytes: MAX_BYTES });
        for (let at = 0; ; at = framer.end) {
          const frame = framer.next(input, at);
          if (!frame || ('error' in frame && frame.error === 'too-large')) return;
          const answer = await calls.answerTo(frame);
          if ('error' in frame && frame.error === 'unknown-type') assert.equal(answer, undefined);
          else assert.equal(answer?.readInt8(3), frame.type + 1);
        }
      }),
      fuzzParameters(5_000),
    );
  });
});

function fail(): never {
  throw new Error('unexpected');
}

function quiet(): void {}
