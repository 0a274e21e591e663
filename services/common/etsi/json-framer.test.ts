import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { decodeJson, JsonFramer } from '#common/etsi/json-framer.ts';

const framer = (maxBytes = 65_536) => new JsonFramer({ maxBytes });
const texts = (frames: ReturnType<JsonFramer['push']>) =>
  frames.map((frame) => (Buffer.isBuffer(frame) ? frame.toString() : `!${frame.error}`));

const TRICKY = ['{"a":"}{\\"\\\\"}', '{"ü":"日本","n":[1,[2,{"x":"]"}]]}', '[]', '{}', '{"e":"\\u007d"}'];

/** An object or array with strings that look like structure. */
function randomContainer(depth: number): unknown {
  const items = Array.from({ length: randomInt(0, 4) }, () => randomValue(depth - 1));
  return randomInt(2) ? items : Object.fromEntries(items.map((item, i) => [`k{${i}"`, item]));
}

function randomValue(depth: number): unknown {
  const leaf = [null, true, -1.5e10, 'a"}{][\\', '\\', '日本é', '\u2028\n'][randomInt(7)];
  return depth > 0 && randomInt(2) ? randomContainer(depth) : leaf;
}

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

  it('gives one text at a time to those who ask so, and says where it ends', () => {
    const f = framer();
    const segment = Buffer.from('  {"a":1}  x\n[2] {"b"');
    const found: [string, number][] = [];
    for (let at = 0; ; at = f.end) {
      const frame = f.next(segment, at);
      if (frame === undefined) break;
      found.push([...texts([frame]).map((one): [string, number] => [one, f.end])][0] as [string, number]);
    }
    assert.deepEqual(found, [
      ['{"a":1}', 9],
      ['!not-json', 13],
      ['[2]', 16],
    ]);
    assert.deepEqual([f.end, f.pending], [segment.length, 4]);
    assert.deepEqual(texts(f.push(Buffer.from(':3}'))), ['{"b":3}']);
  });

  it('gives nothing more once it is stopped, and wipes what it holds', () => {
    const f = framer();
    f.push(Buffer.from('{"key":"secret'));
    f.stop();
    assert.equal(f.pending, 0);
    assert.deepEqual(f.push(Buffer.from('"}{}')), []);
    assert.equal(f.next(Buffer.from('x'), 0), undefined);
  });

  it('answers garbage once and finds the text behind it', () => {
    assert.deepEqual(texts(framer().push(Buffer.from('hello }\n{"a":1} 42'))), [
      '!not-json',
      '{"a":1}',
      '!not-json',
    ]);
  });

  it('stops at a text over the limit, before holding more of it', () => {
    const f = framer(100);
    assert.deepEqual(texts(f.push(Buffer.from(`{"a":"${'x'.repeat(60)}`))), []);
    assert.deepEqual(texts(f.push(Buffer.alloc(60, 'x'))), ['!too-large']);
    assert.deepEqual(f.push(Buffer.from('{}')), []);
    assert.equal(f.pending, 0);
  });

  it('refuses nesting that no request has, and answers what follows', () => {
    const deep = `${'['.repeat(100)}"]"${']'.repeat(100)}`;
    const stream = Buffer.from(`${deep}{"a":1}`);
    assert.deepEqual(texts(framer().push(stream)), ['!not-json', '{"a":1}']);
    const f = framer();
    const found = [...stream].flatMap((byte) => texts(f.push(Buffer.from([byte]))));
    assert.deepEqual(found, ['!not-json', '{"a":1}']);
    assert.deepEqual(texts(framer(100).push(Buffer.from('['.repeat(101)))), ['!too-large']);
  });

  it('takes exactly the limit, and not a byte more', () => {
    const text = '{"a":"xyz"}';
    for (const split of [0, 1, 5, 10]) {
      for (const [limit, wanted] of [
        [text.length, text],
        [text.length - 1, '!too-large'],
      ] as const) {
        const f = framer(limit);
        const parts = [text.slice(0, split), text.slice(split)].map((part) => Buffer.from(part));
        assert.deepEqual(
          parts.flatMap((part) => texts(f.push(part))),
          [wanted],
        );
        assert.equal(f.pending, 0);
      }
    }
  });

  it('leaves the segments as they are and gives texts of its own', () => {
    const f = framer();
    const [head, tail] = [Buffer.from('{"a":'), Buffer.from('1} {')];
    f.push(head);
    const [frame] = f.push(tail);
    assert.ok(Buffer.isBuffer(frame));
    frame.fill(0);
    assert.deepEqual([head.toString(), tail.toString(), f.pending], ['{"a":', '1} {', 1]);
  });

  it('agrees with a parser that sees the whole stream, for any texts and segments', () => {
    for (let round = 0; round < 300; round++) {
      const wanted = Array.from({ length: randomInt(1, 6) }, () => JSON.stringify(randomContainer(4)));
      const stream = Buffer.from(
        wanted.map((text) => text + ['', ' ', '\n', '\r\n\t'][randomInt(4)]).join(''),
      );
      const f = framer();
      const found: string[] = [];
      for (let at = 0; at < stream.length; ) {
        const size = randomInt(1, randomInt(2, 100));
        found.push(...texts(f.push(stream.subarray(at, at + size))));
        at += size;
      }
      assert.deepEqual(found, wanted);
    }
  });

  it('reads a long text byte by byte without copying it over and over', () => {
    const size = 4 * 1024 * 1024;
    const f = framer(size);
    const byte = Buffer.from('x');
    f.push(Buffer.from('{"a":"'));
    for (let i = 0; i < size - 8; i++) f.push(byte);
    const [frame] = f.push(Buffer.from('"}'));
    assert.ok(Buffer.isBuffer(frame) && frame.length === size);
  });

  it('survives random bytes', () => {
    for (let round = 0; round < 500; round++) {
      const f = framer(256);
      for (let i = 0; i < 20; i++) {
        const bytes = Buffer.from(
          Array.from({ length: randomInt(1, 40) }, () => '{}[]"\\ a\n\x00\xff'.charCodeAt(randomInt(0, 11))),
        );
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

  it('does not repeat the text in the error', () => {
    assert.throws(
      () => decodeJson(Buffer.from('{"key_buffer":"c2VjcmV0" x}')),
      (error: Error) => !inspect(error, { depth: 9 }).includes('c2Vj'),
    );
  });
});
