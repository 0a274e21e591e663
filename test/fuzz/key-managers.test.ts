import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { BinaryAnswers } from '#common/etsi/binary-client.ts';
import {
  BINARY_ANSWER_LENGTHS,
  writeDelivered,
  writeOpened,
  writeStatus,
} from '#common/etsi/etsi004-binary-answers.ts';
import { headed } from '#common/etsi/etsi004-binary-codec.ts';
import { keyContainerSchema, statusSchema } from '#common/etsi/etsi014.ts';
import { idsIn, nameOf } from '../../services/qkd-source/drivers/etsi014/key-names.ts';
import { joinParts, partsFor } from '../../services/qkd-source/drivers/etsi014/key-parts.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { mutated, onlyKeyweaveErrors } from './hostile-bytes.ts';

const KSID = '11111111-1111-4111-8111-111111111111';
const QOS = {
  ...{ keyChunkSize: 32, maxBps: 40_000, minBps: 0, jitter: 0, priority: 7, timeoutMs: 5_000, ttlS: 3_600 },
  metadataMimetype: 'application/json',
};
const MOST = Math.max(...[...BINARY_ANSWER_LENGTHS.values()].map(([, most]) => most));

const ANSWERS = [
  writeOpened({ ksid: KSID, qos: QOS, isAdjusted: true }),
  writeDelivered({ index: 7, key: Buffer.alloc(32, 1), metadata: '{"age": 0, "hops": 0}' }),
  writeStatus(0x05, 8, 4),
  writeStatus(0x09, 0),
];

const lengthOf = (type: number, bytes: number) => {
  const header = headed(type, Buffer.alloc(8));
  header.writeUInt32BE(bytes, 4);
  return header;
};

const NASTY = [
  Buffer.alloc(0),
  Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
  Buffer.from('{"status":0,"key_buffer":[1]}'),
  writeStatus(0x03, 0),
  writeStatus(0x05, 0),
  ...[0, 3, 4, 5, 15, 16, 303, 304, 305].flatMap((bytes) =>
    [0x03, 0x05, 0x09].map((type) => headed(type, Buffer.alloc(8 + bytes))),
  ),
  lengthOf(0x05, MOST),
  lengthOf(0x05, MOST + 1),
  lengthOf(0x05, 0xffff_ffff),
];

const conversation = fc.oneof(
  fc
    .array(fc.oneof(fc.constantFrom(...ANSWERS, ...NASTY), mutated([...ANSWERS, ...NASTY])), {
      minLength: 1,
      maxLength: 4,
    })
    .map((parts) => Buffer.concat(parts)),
  fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
);
const segments = fc.array(fc.nat(1_000), { maxLength: 8 });

/** What a reader of answers finds in `input`, cut at `cuts`, in words, up to the first fault. */
function found(input: Buffer, cuts: readonly number[]): string[] {
  const reader = new BinaryAnswers();
  const words: string[] = [];
  let from = 0;
  for (const cut of [...cuts.filter((at) => at < input.length).sort((a, b) => a - b), input.length]) {
    const segment = Buffer.from(input.subarray(from, cut));
    for (let at = 0; ; at = reader.end) {
      const one = reader.next(segment, at);
      assert.ok(reader.end >= at && reader.end <= segment.length, 'it does not go on');
      assert.ok(reader.pending <= 8 + MOST, `${reader.pending} bytes are under way`);
      if (!one) break;
      if ('error' in one) {
        assert.ok(one.error instanceof Error);
        return [...words, 'fault'];
      }
      const { status, opened, delivered } = one.answer;
      if (delivered) assert.ok(delivered.key.length > 0 && delivered.key.length <= 65_536);
      words.push(`${status} ${opened?.ksid} ${delivered?.index} ${delivered?.key.toString('hex')}`);
    }
    segment.fill(0xdb);
    from = cut;
  }
  return words;
}

const UUID = 'bc490419-7d60-487f-adc1-4ddcc177c139';
/** ETSI GS QKD 014 V1.1.1, 6.3: the example. */
const EXAMPLE_KEY = 'wHHVxRwDJs3/bXd38GHP3oe4svTuRpZS0yCC7x4Ly+s=';

const NASTY_JSON = corpus('key-manager-json');

const json = fc.oneof(
  fc.json(),
  mutated([
    ...NASTY_JSON,
    ...[
      { keys: [{ key_ID: UUID, key: EXAMPLE_KEY }], key_container_extension: {} },
      { Keys: [{ key_ID: UUID, key: '', key_extension: 7 }] },
      { key_size: 256, max_key_per_request: 10, max_key_size: 1024, min_key_size: 64, stored_key_count: -1 },
    ].map((value) => Buffer.from(JSON.stringify(value))),
  ]).map(String),
);

describe('what a key manager answers', () => {
  it('in the binary protocol is found alike however it is cut, and read or refused', () => {
    fc.assert(
      fc.property(conversation, segments, (input, cuts) => {
        assert.deepEqual(found(input, cuts), found(input, []));
      }),
      {
        ...fuzzParameters(10_000),
        examples: NASTY.map((input): [Buffer, number[]] => [input, [1, 4, 8, 9]]),
      },
    );
  });

  it('in the binary protocol is read as it was written', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.nat(0xffff_ffff), (bytes, index) => {
        const key = Buffer.from(bytes);
        assert.deepEqual(found(writeDelivered({ index, key, metadata: '{}' }), []), [
          `0 undefined ${index} ${key.toString('hex')}`,
        ]);
      }),
      fuzzParameters(2_000),
    );
  });

  it('as JSON of ETSI 014 is read or refused, and gives keys of the size or none', () => {
    fc.assert(
      fc.property(json, fc.integer({ min: 1, max: 100 }), (text, keyBytes) => {
        let value: unknown;
        try {
          value = JSON.parse(text);
        } catch {
          return;
        }
        const container = keyContainerSchema.safeParse(value);
        const keys = container.success ? container.data.map(({ key }) => key) : [];
        onlyKeyweaveErrors(() => {
          const joined = joinParts(keys, new Array<number>(keys.length).fill(1), keyBytes);
          assert.equal(joined.length, keys.length * keyBytes);
        });
        const status = statusSchema.safeParse(value);
        if (!status.success) return;
        onlyKeyweaveErrors(() => {
          const { count, bytes } = partsFor(keyBytes, status.data);
          assert.ok(count >= 1 && count <= 4 && count * bytes >= keyBytes);
        });
      }),
      {
        ...fuzzParameters(10_000),
        examples: NASTY_JSON.map((text): [string, number] => [String(text), 32]),
      },
    );
  });
});

describe('names of keys that come from the other end', () => {
  it('are lists of UUIDs, or nothing is asked for', () => {
    const name = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      mutated([nameOf([UUID]), nameOf([UUID, UUID.toUpperCase()])]),
    );
    fc.assert(
      fc.property(name, (bytes) => {
        try {
          const ids = idsIn(bytes);
          assert.ok(ids.length >= 1 && ids.length <= 4);
          assert.deepEqual(nameOf(ids), bytes);
        } catch (error) {
          assert.ok(error instanceof KeyweaveError, String(error));
        }
      }),
      fuzzParameters(5_000),
    );
  });
});
