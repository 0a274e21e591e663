import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { decodeJson, JsonFramer } from './json-framer.ts';

const framer = (maxBytes = 65_536) => new JsonFramer({ maxBytes });
const texts = (frames: ReturnType<JsonFramer['push']>) =>
  frames.map((frame) => (Buffer.isBuffer(frame) ? frame.toString() : `!${frame.error}`));

const TRICKY = ['{"a":"}{\\"\\\\"}', '{"ü":"日本","n":[1,[2,{"x":"]"}]]}', '[]', '{}', '{"e":"\\u007d"}'];

describe('JsonFramer', () => {
  it('gives a whole text as a view, without copying', () => {
    const segment = Buffer.from('{"command":"CLOSE"}');
    const [frame] = framer().push(segment);
    assert.ok(Buffer.isBuffer(frame) && frame.buffer === segment.buffer);
  });

  it('gives several texts of one segment in order', () => {
    assert.deepEqual(texts(framer().push(Buffer.from(TRICKY.join(' \r\n')))), TRICKY);
  });

  it('puts texts together again, whatever the segments', () => {
    const stream = Buffer.from(TRICKY.join(''));
    for (let round = 0; round < 300; round++) {
      const f = framer();
      const found: string[] = [];
      for (let at = 0; at < stream.length; ) {
        const size = round === 0 ? 1 : randomInt(1, 12);
        found.push(...texts(f.push(stream.subarray(at, at + size))));
        at += size;
      }
      assert.deepEqual(found, TRICKY);
      assert.equal(f.pending, 0);
    }
  });

  it('answers garbage once and finds the text behind it', () => {
    assert.deepEqual(texts(framer().push(Buffer.from('hello }\n{"a":1} 42'))), ['!not-json', '{"a":1}', '!not-json']);
  });

  it('stops at a text over the limit, before holding more of it', () => {
    const f = framer(100);
    assert.deepEqual(texts(f.push(Buffer.from(`{"a":"${'x'.repeat(60)}`))), []);
    assert.deepEqual(texts(f.push(Buffer.alloc(60, 'x'))), ['!too-large']);
    assert.deepEqual(f.push(Buffer.from('{}')), []);
    assert.equal(f.pending, 0);
  });

  it('stops at nesting that no request has', () => {
    assert.deepEqual(texts(framer().push(Buffer.from('['.repeat(100)))), ['!not-json']);
  });

  it('survives random bytes', () => {
    for (let round = 0; round < 500; round++) {
      const f = framer(256);
      for (let i = 0; i < 20; i++) {
        const bytes = Buffer.from(Array.from({ length: randomInt(1, 40) }, () => '{}[]"\\ a\n\x00\xff'.charCodeAt(randomInt(0, 11))));
        f.push(bytes);
        assert.ok(f.pending <= 256);
      }
    }
  });
});

describe('decodeJson', () => {
  it('refuses invalid UTF-8 and invalid JSON in the same words', () => {
    for (const bad of [Buffer.from([0x7b, 0xff, 0x7d]), Buffer.from('{a:1}')]) {
      assert.throws(() => decodeJson(bad), /Invalid JSON received/);
    }
  });
});
