import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import { parseJsonRequest } from '../../services/gateway/frontends/etsi004-json/requests.ts';
import { parseKsid } from '../../services/gateway/streams/ksid.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
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
  ...corpus('json-requests'),
  Buffer.from(`${'['.repeat(70)}${']'.repeat(70)}`),
  Buffer.from(`{"command":"CLOSE","data":{"key_stream_id":"${'x'.repeat(MAX_BYTES)}"}}`),
];

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
