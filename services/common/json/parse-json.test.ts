import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { isReason } from '#common/errors/keyweave-error.ts';
import { findJsonError, parseJson } from '#common/json/parse-json.ts';

const SERVICES = fileURLToPath(new URL('../../', import.meta.url));

/** Where JSON.parse stands: its errors never get out of these, or the text is no one's secret. */
const PARSERS = [
  'cli/demo/local-node.ts',
  'cli/version/commit.ts',
  'client/delivered-key.ts',
  'common/etsi/json-framer.ts',
  'common/json/json-places.ts',
  'common/json/parse-json.ts',
  'common/service/version.ts',
  'gateway/frontends/etsi014/server.ts',
  'kme-simulator/control-server.ts',
  'kme-simulator/dialects/etsi014-end.ts',
];

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('findJsonError', () => {
  for (const [text, index] of [
    ['', 0],
    ['{"a":1,}', 7],
    ['{"a":1 "b":2}', 7],
    ['{"a" 1}', 5],
    ['{"a":}', 5],
    ['{a:1}', 1],
    ['[1,]', 3],
    ['[1 2]', 3],
    ['[,]', 1],
    ['{"a":"b\nc"}', 7],
    ['{"a":"\\q"}', 6],
    ['"\\u12g4"', 1],
    ['"no end', 7],
    ['{"a":[1,{"b":2}]', 16],
    ['01', 1],
    ['1.', 1],
    ['-', 0],
    ['nul', 0],
    ['1 2', 2],
    ['{"a":1}}', 7],
    ["{'a':1}", 1],
    ['\ufeff{}', 0],
  ] as const) {
    it(`finds it in ${JSON.stringify(text)}`, () => assert.equal(findJsonError(text), index));
  }

  it('finds none in what is JSON, however deep, long or odd', () => {
    const deep = `${'[{"a":'.repeat(50_000)}1${'}]'.repeat(50_000)}`;
    for (const text of [
      deep,
      `"${'x\\u00e9'.repeat(500_000)}"`,
      ' [ ] ',
      '{}',
      '-0.5E+9',
      '"\u2028"',
      '{"":""}',
    ])
      assert.equal(findJsonError(text), undefined, text.slice(0, 40));
  });

  it('says that something is wrong exactly where JSON.parse does', () => {
    const broken = fc
      .tuple(
        fc.json(),
        fc.nat(),
        fc.nat({ max: 3 }),
        fc.string({ unit: fc.constantFrom(...'{}[]":,\\0-1.eEtn \n\u0000') }),
      )
      .map(([text, at, cut, put]) => {
        const from = at % (text.length + 1);
        return text.slice(0, from) + put + text.slice(from + cut);
      });
    fc.assert(
      fc.property(broken, (text) => assert.equal(findJsonError(text) === undefined, isJson(text))),
      { numRuns: 5_000 },
    );
  });
});

describe('parseJson', () => {
  it('gives what JSON.parse does', () => {
    assert.deepEqual(parseJson(' {"a":[1,"b",null]} ', 'it'), { a: [1, 'b', null] });
  });

  it('tells the place of an error and nothing of the text, not even as a cause', () => {
    const text = '{\n  "a": 1,\n  "shared_seed": S3cret\n}';
    assert.throws(
      () => parseJson(text, 'some file'),
      (error: Error) =>
        isReason(error, 'BAD_CONFIG') &&
        error.cause === undefined &&
        error.message === 'BAD_CONFIG: some file: is not JSON (line 3, column 18)',
    );
    assert.throws(() => parseJson('[\n1,\n', 'it'), /it: is not JSON \(it ends at line 3, column 1\)$/);
  });

  it('is how every file is read: JSON.parse quotes what it could not read', () => {
    const found = readdirSync(SERVICES, { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.includes('node_modules'))
      .filter((path) => /JSON\.parse\(/.test(readFileSync(join(SERVICES, path), 'utf8')));
    assert.deepEqual(found.sort(), PARSERS);
  });
});
