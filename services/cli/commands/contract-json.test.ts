import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { asJson, requestsIn } from './contract-json.ts';

describe('requests of a text', () => {
  it('are one empty one where there is no text', () => {
    for (const text of ['', ' \n']) assert.deepEqual(requestsIn(text), [{}]);
  });

  it('are its objects in order, their fields named either way', () => {
    assert.deepEqual(requestsIn('{"keyStreamId":"a"}{"key_stream_id":"b"}\n\n {"qos":{"maxBps":1}} '), [
      { key_stream_id: 'a' },
      { key_stream_id: 'b' },
      { qos: { max_bps: 1 } },
    ]);
  });

  it('keep what looks like an end within a string', () => {
    assert.deepEqual(requestsIn('{"a":"} {"} {"b":"}{"}'), [{ a: '} {' }, { b: '}{' }]);
  });

  it('are refused without a word of the text', () => {
    for (const text of [
      'S3cret',
      '{"a":S3cret}',
      '{} S3cret',
      '[{}]',
      '{"a":1} 7',
      'null',
      '{}}',
      '"S3cret"',
    ])
      assert.throws(
        () => requestsIn(text),
        (error: Error) => isReason(error, 'BAD_REQUEST') && !error.message.includes('S3cret'),
        text,
      );
  });
});

describe('an answer', () => {
  it('has its fields named as in JSON, at every depth', () => {
    assert.deepEqual(asJson({ key_stream_id: 'a', keys: [{ first_index: 1 }], at: null }), {
      keyStreamId: 'a',
      keys: [{ firstIndex: 1 }],
      at: null,
    });
  });
});
