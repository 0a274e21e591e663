import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GetKeysResponse, KeyDeliveryDefinition, WatchKeysResponse } from '#gen/keyweave/v1/key_delivery.ts';
import { wipingDefinition } from './wiping-definition.ts';

type Serialized = Record<
  string,
  { path: string; responseSerialize(answer: object): Uint8Array | ArrayBuffer }
>;

const lean = wipingDefinition(KeyDeliveryDefinition) as unknown as Serialized;
const key = () => ({ index: 1, key: Buffer.alloc(32, 7), metadata: '' });

/** What is serialised is given as an ArrayBuffer where it fills one. */
const bytesOf = (made: Uint8Array | ArrayBuffer = new ArrayBuffer(0)) => new Uint8Array(made);

describe('an answer with keys', () => {
  it('is laid out whole, and its keys are wiped', () => {
    const one = key();
    const watched = bytesOf(lean.watchKeys?.responseSerialize({ key: one }));
    assert.deepEqual(Buffer.from(WatchKeysResponse.decode(watched).key?.key ?? []), Buffer.alloc(32, 7));
    const several = [key(), key()];
    const batch = bytesOf(lean.getKeys?.responseSerialize({ keys: several }));
    assert.equal(GetKeysResponse.decode(batch).keys.length, 2);
    for (const { key: bytes } of [one, ...several]) assert.deepEqual(bytes, Buffer.alloc(32));
  });

  it('goes the way of the contract', () => {
    assert.equal(lean.getKeys?.path, '/keyweave.v1.KeyDelivery/GetKeys');
  });
});
