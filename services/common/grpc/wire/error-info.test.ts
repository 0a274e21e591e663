import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { statusDetails } from '#common/grpc/wire/error-info.ts';

/** The fields of a message by number, each as often as it stands. */
function fieldsOf(bytes: Uint8Array): Map<number, (Uint8Array | number)[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, (Uint8Array | number)[]>();
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    const value = wire === 2 ? reader.bytes() : reader.int32();
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

const textOf = (value: Uint8Array | number | undefined) => Buffer.from(value as Uint8Array).toString();

describe('the details of a status (google/rpc/status.proto, error_details.proto)', () => {
  it('are the code, the words, and an ErrorInfo with the reason and what its row says', () => {
    const error = new KeyweaveError('INSUFFICIENT_KEY', 'a source has run dry');
    const status = fieldsOf(statusDetails(error));
    assert.equal(status.get(1)?.[0], 8);
    assert.equal(textOf(status.get(2)?.[0]), 'a source has run dry');
    const any = fieldsOf(status.get(3)?.[0] as Uint8Array);
    assert.equal(textOf(any.get(1)?.[0]), 'type.googleapis.com/google.rpc.ErrorInfo');
    const info = fieldsOf(any.get(2)?.[0] as Uint8Array);
    assert.deepEqual([textOf(info.get(1)?.[0]), textOf(info.get(2)?.[0])], ['INSUFFICIENT_KEY', 'keyweave']);
    const entries = (info.get(3) ?? []).map((entry) => {
      const pair = fieldsOf(entry as Uint8Array);
      return [textOf(pair.get(1)?.[0]), textOf(pair.get(2)?.[0])];
    });
    assert.deepEqual(entries, [
      ['etsi004_status', '2'],
      ['retryable', 'true'],
    ]);
  });
});
