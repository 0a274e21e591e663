import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { decodeKeyBuffer, parseJsonAnswer } from '#common/etsi/etsi004-json-codec.ts';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';
import { parseSpiffeId } from '#common/tls/spiffe.ts';
import { DeriveRequest } from '#gen/keyweave/v1/hybridizer.ts';
import {
  ConfirmRequest,
  OpenRequest,
  ProduceRequest,
  ProduceResponse,
} from '#gen/keyweave/v1/key_agreement.ts';
import { EncapsulateRequest, KeyPairsRequest } from '#gen/keyweave/v1/pqc_source.ts';
import { FetchKeysRequest } from '#gen/keyweave/v1/qkd_source.ts';
import { parseJsonRequest } from '../../services/gateway/frontends/etsi004-json-requests.ts';
import { parseStreamTerms } from '../../services/gateway/key-streams/stream-terms.ts';

const ROUNDS = 20_000;

/** Nothing but an error of ours may come out of hostile input. */
function onlyKeyweaveErrors(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof KeyweaveError, `${error}`);
  }
}

function mutate(seed: Buffer): Buffer {
  const bytes = Buffer.from(seed);
  for (let i = randomInt(1, 6); i > 0; i--) bytes[randomInt(bytes.length)] = randomInt(256);
  return bytes.subarray(0, randomInt(4) === 0 ? randomInt(bytes.length) : bytes.length);
}

const JSON_SEEDS = [
  {
    command: 'OPEN_CONNECT',
    data: {
      source: 'hybrid://a@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa?hybridization=xoring&kem_mec=Kyber512',
      destination: 'hybrid://a@bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb',
      qos: { key_chunk_size: 32, timeout: 0 },
    },
  },
  {
    command: 'GET_KEY',
    data: {
      key_stream_id: '11111111-1111-4111-8111-111111111111',
      index: 4294967295,
      metadata: { size: 46, buffer: '' },
    },
  },
  { command: 'CLOSE', data: { key_stream_id: '11111111-1111-4111-8111-111111111111' } },
].map((value) => Buffer.from(JSON.stringify(value)));

describe('hostile input', () => {
  it('JSON requests: framed, decoded and read, or refused', () => {
    for (let round = 0; round < ROUNDS; round++) {
      const framer = new JsonFramer({ maxBytes: 4096 });
      const input = mutate(JSON_SEEDS[round % JSON_SEEDS.length] as Buffer);
      const cut = randomInt(input.length + 1);
      for (const part of [input.subarray(0, cut), input.subarray(cut)]) {
        for (const frame of framer.push(part)) {
          if (Buffer.isBuffer(frame)) onlyKeyweaveErrors(() => parseJsonRequest(decodeJson(frame)));
        }
      }
      assert.ok(framer.pending <= 4096);
    }
  });

  it('application URIs', () => {
    const seed = Buffer.from(
      'hybrid://a@aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa?hybridization=xoring&key_sources=ML-KEM-768,QKD',
    );
    for (let round = 0; round < ROUNDS; round++) {
      const [source, destination] = [mutate(seed).toString(), mutate(seed).toString('latin1')];
      onlyKeyweaveErrors(() =>
        parseStreamTerms(source, destination, { method: 'xoring', keySources: ['QKD'] }),
      );
    }
  });

  it('answers of key managers', () => {
    const values: (() => unknown)[] = [
      () => randomBytes(randomInt(1, 80)).toString('base64'),
      () => randomBytes(randomInt(1, 80)).toString('latin1'),
      () => Array.from({ length: randomInt(40) }, () => randomInt(-5, 300) / randomInt(1, 3)),
      () => ({ length: 32 }),
      () => Number.NaN,
    ];
    for (let round = 0; round < ROUNDS; round++) {
      const value = values[round % values.length]?.();
      onlyKeyweaveErrors(() => decodeKeyBuffer(value, 32));
      onlyKeyweaveErrors(() => parseJsonAnswer(value));
    }
  });

  it('every message of the contracts: decoded or thrown, never hung or huge', () => {
    const codecs = [
      OpenRequest,
      ProduceRequest,
      ProduceResponse,
      ConfirmRequest,
      DeriveRequest,
      KeyPairsRequest,
      EncapsulateRequest,
      FetchKeysRequest,
    ];
    const seeds = codecs.map((codec) => Buffer.from(codec.encode(codec.fromPartial({}) as never).finish()));
    for (let round = 0; round < ROUNDS; round++) {
      const i = round % codecs.length;
      const seed = Buffer.concat([seeds[i] as Buffer, randomBytes(randomInt(1, 60))]);
      const started = performance.now();
      try {
        codecs[i]?.decode(mutate(seed));
      } catch {
        // The transport answers with a status; what matters is that it comes at once.
      }
      assert.ok(performance.now() - started < 500);
    }
  });

  it('SPIFFE ids', () => {
    const seed = Buffer.from('spiffe://keyweave/node/aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa/gateway');
    for (let round = 0; round < ROUNDS; round++) {
      const text = mutate(seed).toString('latin1');
      const parsed = parseSpiffeId(text);
      if (parsed) assert.equal(text, `spiffe://${parsed.network}/node/${parsed.nodeUuid}/${parsed.service}`);
    }
  });
});
