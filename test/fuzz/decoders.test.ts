import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeKeyBuffer, parseJsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { JsonClient } from '#common/etsi/json-client.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import { parseJsonRequest } from '../../services/gateway/frontends/etsi004-json/requests.ts';
import { parseKsid } from '../../services/gateway/streams/ksid.ts';
import { parseStreamTerms } from '../../services/gateway/streams/stream-terms.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const UUID_A = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const UUID_B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const KSID = '11111111-1111-4111-8111-111111111111';
const MAX_BYTES = 4096;

const REQUESTS = [
  {
    command: 'OPEN_CONNECT',
    data: {
      source: `hybrid://a@${UUID_A}?hybridization=xoring&kem_mec=Kyber512`,
      destination: `hybrid://a@${UUID_B}`,
      qos: { key_chunk_size: 32, timeout: 0 },
    },
  },
  {
    command: 'GET_KEY',
    data: { key_stream_id: KSID, index: 4294967295, metadata: { size: 46, buffer: '' } },
  },
  { command: 'CLOSE', data: { key_stream_id: KSID } },
].map((value) => Buffer.from(JSON.stringify(value)));

/** Inputs that once were, or easily could be, trouble. */
const NASTY_TEXTS = [
  '',
  '{',
  '}',
  '}{',
  '{}{}',
  '[[[[[[[[',
  `${'['.repeat(70)}${']'.repeat(70)}`,
  '{"a":"}"}',
  '{"a":"\\"}"}',
  '{"a":"\\',
  '"}{"',
  'garbage\n{"command":"CLOSE"}',
  '{"command":"CLOSE","data":{"key_stream_id":"\\ud800"}}',
  '{"__proto__":{"command":"CLOSE"}}',
  '{"command":"GET_KEY","data":{"key_stream_id":"x","index":1e400}}',
  '{"command":"GET_KEY","data":{"key_stream_id":"x","index":-0}}',
  `{"command":"CLOSE","data":{"key_stream_id":"${'x'.repeat(MAX_BYTES)}"}}`,
].map((text) => Buffer.from(text));

const segments = fc.array(fc.nat(MAX_BYTES), { maxLength: 6 });

/** A few requests after each other, each sound or spoilt, or anything at all. */
const conversation = fc.oneof(
  fc
    .array(fc.oneof(fc.constantFrom(...REQUESTS), mutated(REQUESTS), mutated(NASTY_TEXTS)), {
      minLength: 1,
      maxLength: 4,
    })
    .map((parts) => Buffer.concat(parts)),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.json({ maxDepth: 5 }).map((text) => Buffer.from(text)),
);

/** The texts that a framer finds in `input`, cut at `cuts`. */
function framed(input: Buffer, cuts: readonly number[]): string[] {
  const framer = new JsonFramer({ maxBytes: MAX_BYTES });
  const texts: string[] = [];
  let from = 0;
  for (const cut of [...cuts.filter((at) => at < input.length).sort((a, b) => a - b), input.length]) {
    for (const frame of framer.push(input.subarray(from, cut)))
      if (Buffer.isBuffer(frame)) texts.push(frame.toString('latin1'));
    assert.ok(framer.pending <= MAX_BYTES, `${framer.pending} bytes are held`);
    from = cut;
  }
  return texts;
}

describe('JSON of applications', () => {
  it('is framed alike however it is cut, decoded and read, or refused', () => {
    fc.assert(
      fc.property(conversation, segments, (input, cuts) => {
        const texts = framed(input, cuts);
        assert.deepEqual(texts, framed(input, []));
        for (const text of texts)
          onlyKeyweaveErrors(() => parseJsonRequest(decodeJson(Buffer.from(text, 'latin1'))));
      }),
      {
        ...fuzzParameters(20_000),
        examples: NASTY_TEXTS.flatMap((text): [Buffer, number[]][] => [
          [text, []],
          [text, [1, 2, 3]],
        ]),
      },
    );
  });

  it('of any shape is read as one of the three requests, with numbers in range, or refused', () => {
    const u32ish = fc.oneof(
      fc.integer({ min: -2, max: 2 ** 32 + 1 }),
      fc.double(),
      fc.constantFrom(null, '1', true),
    );
    const ksid = fc.oneof(fc.constant(KSID), fc.string(), fc.jsonValue());
    const qos = fc.record(
      {
        key_chunk_size: u32ish,
        max_bps: u32ish,
        min_bps: u32ish,
        jitter: u32ish,
        priority: u32ish,
        timeout: u32ish,
        ttl: u32ish,
        metadata_mimetype: fc.oneof(fc.string(), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    const data = fc.oneof(
      fc.record(
        {
          source: fc.oneof(fc.webUrl(), fc.jsonValue()),
          destination: fc.oneof(fc.webUrl(), fc.jsonValue()),
          qos: fc.oneof(qos, fc.jsonValue()),
          key_stream_id: ksid,
          index: u32ish,
          metadata: fc.oneof(
            fc.record({ size: u32ish, buffer: fc.string() }, { requiredKeys: [] }),
            fc.jsonValue(),
          ),
        },
        { requiredKeys: [] },
      ),
      fc.jsonValue(),
    );
    const command = fc.oneof(fc.constantFrom('OPEN_CONNECT', 'GET_KEY', 'CLOSE'), fc.jsonValue());
    const request = fc.oneof(fc.record({ command, data }, { requiredKeys: [] }), fc.jsonValue());
    const isU32 = (value: unknown) =>
      Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;
    fc.assert(
      fc.property(request, (json) => {
        onlyKeyweaveErrors(() => {
          const read = parseJsonRequest(json);
          if (read.command !== 'OPEN_CONNECT') assert.equal(typeof read.ksid, 'string');
          if (read.command === 'GET_KEY') {
            assert.ok(read.index === undefined || isU32(read.index));
            assert.ok(read.metadataRoom === undefined || isU32(read.metadataRoom));
          } else if (read.command === 'OPEN_CONNECT') {
            const { metadataMimetype, ...numbers } = read.qos;
            assert.equal(typeof metadataMimetype, 'string');
            for (const [name, value] of Object.entries(numbers)) assert.ok(isU32(value), `${name}: ${value}`);
          }
        });
      }),
      {
        ...fuzzParameters(10_000),
        examples: [[null], [[]], [{ command: 'GET_KEY' }], [{ command: '__proto__', data: {} }]],
      },
    );
  });

  it('names key streams by UUIDs only', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.uuid(), mutated([Buffer.from(KSID)]).map(String)), (text) => {
        onlyKeyweaveErrors(() => assert.match(parseKsid(text) ?? KSID, /^[0-9a-f-]{36}$/));
      }),
      {
        ...fuzzParameters(5_000),
        examples: [['00000000-0000-0000-0000-000000000000'], [''], [KSID.toUpperCase()]],
      },
    );
  });
});

describe('application URIs', () => {
  const URIS = [
    `hybrid://a@${UUID_A}?hybridization=xoring&key_sources=ML-KEM-768,QKD`,
    `hybrid://a@${UUID_B}/?hybridization=hkdf-sha384&kem_mec=ml-kem-1024`,
    `HYBRID://x@${UUID_A}`,
  ].map((text) => Buffer.from(text));
  const query = fc
    .array(
      fc.tuple(
        fc.oneof(
          fc.constantFrom('hybridization', 'kem_mec', 'key_sources', 'hybridisation', 'key_source'),
          fc.webSegment(),
        ),
        fc.oneof(
          fc.constantFrom(
            'xoring',
            'hmac',
            'QKD',
            'ML-KEM-768,QKD',
            'QKD,QKD',
            ',',
            '%',
            '%00',
            'A,'.repeat(20),
          ),
          fc.webSegment(),
        ),
      ),
      { maxLength: 4 },
    )
    .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'));
  const uri = fc.oneof(
    mutated(URIS).map(String),
    mutated(URIS).map((bytes) => bytes.toString('latin1')),
    fc
      .tuple(fc.webSegment(), fc.constantFrom(UUID_A, UUID_B, UUID_A.toUpperCase(), ''), query)
      .map(([name, node, rest]) => `hybrid://${name}@${node}?${rest}`),
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
    fc.string(),
  );

  it('are read as two different nodes, a method and 1 to 16 slots, or refused', () => {
    fc.assert(
      fc.property(uri, uri, (source, destination) => {
        onlyKeyweaveErrors(() => {
          const terms = parseStreamTerms(source, destination, {
            method: 'xoring',
            keySources: ['ML-KEM-768', 'QKD'],
          });
          assert.match(terms.sourceNode, /^[0-9a-f-]{36}$/);
          assert.match(terms.destinationNode, /^[0-9a-f-]{36}$/);
          assert.notEqual(terms.sourceNode, terms.destinationNode);
          assert.ok(terms.slots.length >= 1 && terms.slots.length <= 16);
          for (const slot of terms.slots) assert.ok(slot.sharedSecretBytes > 0);
        });
      }),
      {
        ...fuzzParameters(20_000),
        examples: [
          [`hybrid://a@${UUID_A}?key_sources=`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}?key_sources=constructor,__proto__`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}?hybridization=toString`, `hybrid://a@${UUID_B}`],
          [`hybrid://a@${UUID_A}`, `hybrid://a@${UUID_A.toUpperCase()}`],
          [`hybrid://${'a'.repeat(5000)}@${UUID_A}`, `hybrid://a@${UUID_B}`],
        ],
      },
    );
  });
});

describe('answers of key managers', () => {
  const keyValue = fc.oneof(
    fc.array(fc.oneof(fc.integer({ min: -5, max: 300 }), fc.double(), fc.constantFrom('1', null)), {
      maxLength: 40,
    }),
    fc.base64String({ maxLength: 80 }),
    fc.stringMatching(/^[0-9a-fA-F]{60,68}$/),
    fc.string({ maxLength: 80, unit: 'binary' }),
    fc.jsonValue(),
  );

  it('give a key of the agreed size, or none', () => {
    fc.assert(
      fc.property(keyValue, fc.nat(48), (value, bytes) => {
        onlyKeyweaveErrors(() => assert.equal(decodeKeyBuffer(value, bytes).length, bytes));
      }),
      {
        ...fuzzParameters(20_000),
        examples: [
          [{ length: 32 }, 32],
          [Number.NaN, 32],
          [new Array(32), 32],
          ['A'.repeat(64), 32],
          ['====', 3],
          ['', 0],
        ],
      },
    );
  });

  it('give the same key in every form in which it can be written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 64 }), (bytes) => {
        const key = Buffer.from(bytes);
        const forms = [
          [...key],
          key.toString('hex'),
          key.toString('hex').toUpperCase(),
          key.toString('base64'),
          key.toString('base64url'),
        ];
        for (const form of forms) assert.deepEqual(decodeKeyBuffer(form, key.length), key);
      }),
      fuzzParameters(2_000),
    );
  });

  it('of any shape are read as an answer with a status, or refused', () => {
    const answer = fc.record(
      {
        status: fc.oneof(fc.integer(), fc.jsonValue()),
        STATUS: fc.jsonValue(),
        message: fc.jsonValue(),
        key_stream_id: fc.jsonValue(),
        Key_buffer: fc.jsonValue(),
        index: fc.oneof(fc.integer(), fc.double()),
        metadata: fc.oneof(fc.record({ Size: fc.integer(), buffer: fc.string() }), fc.jsonValue()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(answer, fc.jsonValue()), (json) => {
        onlyKeyweaveErrors(() => {
          const { status, message, index, metadata } = parseJsonAnswer(json);
          assert.ok(Number.isSafeInteger(status));
          assert.equal(typeof message, 'string');
          assert.ok(index === undefined || Number.isSafeInteger(index));
          assert.ok(metadata === undefined || typeof metadata.buffer === 'string');
        });
      }),
      {
        ...fuzzParameters(10_000),
        examples: [[{ status: 'error' }], [JSON.parse('{"__proto__":{"status":0}}')], [[]]],
      },
    );
  });

  it('settle every request, whatever bytes come and however they are cut', async () => {
    const bytes = fc.oneof(
      mutated([
        Buffer.from('{"status":0,"key_buffer":[1,2,3],"index":4}'),
        Buffer.from('{"status":2,"message":"x"}{"status":0}'),
      ]),
      fc.uint8Array({ maxLength: 60 }).map((some) => Buffer.from(some)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(bytes, { maxLength: 5 }),
        fc.integer({ min: 1, max: 4 }),
        async (parts, asked) => {
          const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
          const connection = new JsonClient(
            Object.assign(socket, { setNoDelay: () => socket }) as unknown as Socket,
          );
          const requests = Array.from({ length: asked }, () => connection.request(Buffer.from('{}')));
          for (const part of parts) socket.push(part);
          socket.push(null);
          for (const outcome of await Promise.allSettled(requests))
            if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof Error);
          await connection.whenClosed;
          assert.ok(connection.closed && connection.answers <= asked);
        },
      ),
      { ...fuzzParameters(2_000), timeout: 5_000 },
    );
  });
});

describe('the check of errors', () => {
  it('lets no error through that is not ours', () => {
    assert.throws(() =>
      onlyKeyweaveErrors(() => {
        throw new TypeError('x');
      }),
    );
    onlyKeyweaveErrors(() => {
      throw new KeyweaveError('BAD_REQUEST', 'x');
    });
  });
});
