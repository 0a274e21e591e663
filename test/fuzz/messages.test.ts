import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { leanDefinition } from '#common/grpc/wire/lean-definition.ts';
import { uuidText } from '#common/ids/uuid.ts';
import { HealthDefinition } from '#gen/grpc/health/v1/health.ts';
import { CallStreamDefinition } from '#gen/keyweave/v1/call_stream.ts';
import { HybridizerDefinition } from '#gen/keyweave/v1/hybridizer.ts';
import { KeyAgreementDefinition } from '#gen/keyweave/v1/key_agreement.ts';
import { KeyDeliveryDefinition } from '#gen/keyweave/v1/key_delivery.ts';
import { PqcSourceDefinition } from '#gen/keyweave/v1/pqc_source.ts';
import { QkdSourceDefinition } from '#gen/keyweave/v1/qkd_source.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';
import { corpus } from './corpus.ts';
import { onlyKeyweaveErrors } from './hostile-bytes.ts';

describe('messages between services and nodes', () => {
  interface Codec {
    decode(bytes: Uint8Array): unknown;
    encode(message: never): { finish(): Uint8Array };
    fromPartial(partial: object): unknown;
  }
  const DEFINITIONS = [
    KeyAgreementDefinition,
    KeyDeliveryDefinition,
    HybridizerDefinition,
    PqcSourceDefinition,
    QkdSourceDefinition,
    HealthDefinition,
    CallStreamDefinition,
  ];
  const codecs = new Map<string, Codec>();
  const entries = new Map<string, (bytes: Uint8Array) => unknown>();
  for (const definition of DEFINITIONS) {
    const lean = leanDefinition(definition) as unknown as Record<
      string,
      { requestDeserialize(bytes: Uint8Array): unknown }
    >;
    for (const [name, method] of Object.entries(definition.methods)) {
      const path = `${definition.name}.${method.name}`;
      codecs.set(`${path} request`, method.requestType as unknown as Codec);
      codecs.set(`${path} response`, method.responseType as unknown as Codec);
      // As the server's own way in decodes it.
      entries.set(`${path} request`, (bytes) => lean[name]?.requestDeserialize(bytes));
    }
  }
  const bytesField = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));

  /** A field on the wire, right or wrong: tag, then a varint, fixed bytes or a length that may lie. */
  const field = fc
    .tuple(fc.nat(20), fc.nat(7), fc.nat(2 ** 31 - 1), bytesField, fc.boolean())
    .map(([number, type, value, content, honest]) =>
      Buffer.concat([
        varint(number * 8 + type),
        varint(type === 2 && honest ? content.length : value),
        content,
      ]),
    );
  const wire = fc.array(fc.oneof(field, bytesField), { maxLength: 6 }).map((fields) => Buffer.concat(fields));

  it('of every kind are decoded or thrown out at once, and what is decoded can be written again', () => {
    fc.assert(
      fc.property(fc.constantFrom(...codecs.keys()), wire, (name, bytes) => {
        const codec = codecs.get(name) as Codec;
        const started = performance.now();
        let message: unknown;
        try {
          message = (entries.get(name) ?? codec.decode)(Buffer.from(bytes));
        } catch {
          // The transport answers with a status; what matters is that it comes at once.
        }
        assert.ok(performance.now() - started < 500, `${bytes.length} bytes took too long`);
        if (message === undefined) return;
        const again = codec.encode(message as never).finish();
        assert.deepEqual(codec.encode(codec.decode(again) as never).finish(), again);
      }),
      {
        ...fuzzParameters(30_000),
        examples: [...codecs.keys()].flatMap((name): [string, Buffer][] => [
          // A length of 4 GiB, a varint without an end, a group that is never closed, nesting without an end.
          ...corpus('grpc-messages', 'hex').map((bytes): [string, Buffer] => [name, bytes]),
          [name, Buffer.alloc(10_000, 0x0b)],
        ]),
      },
    );
  });

  it('name a stream by 16 bytes, or are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        onlyKeyweaveErrors(() => {
          assert.equal(
            uuidText('key_stream_id', bytes).replaceAll('-', ''),
            Buffer.from(bytes).toString('hex'),
          );
          assert.equal(bytes.length, 16);
        });
      }),
      fuzzParameters(2_000),
    );
  });
});

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}
