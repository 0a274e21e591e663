import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { parseAddress, parseCount } from './address.ts';

describe('parseAddress', () => {
  it('reads host and port, of IPv6 in brackets', () => {
    for (const [text, host, port] of [
      ['127.0.0.1:20000', '127.0.0.1', 20_000],
      ['node-a.example:0', 'node-a.example', 0],
      ['[::1]:65535', '::1', 65_535],
    ] as const)
      assert.deepEqual(parseAddress(text), { host, port }, text);
  });

  it('refuses the rest, naming it', () => {
    for (const text of [
      '',
      'host',
      'host:',
      ':80',
      'host:65536',
      'host:1e3',
      '::1:80',
      'host:123456',
      'host:80 ',
    ])
      assert.throws(
        () => parseAddress(text),
        (error) => error instanceof KeyweaveError && error.detail.includes(JSON.stringify(text)),
        text,
      );
  });
});

describe('parseCount', () => {
  it('reads whole numbers from the lowest on', () => {
    assert.equal(parseCount('--days', '1'), 1);
    assert.equal(parseCount('--days', '0', 0), 0);
    assert.equal(parseCount('--days', '3650'), 3650);
  });

  it('refuses the rest, naming the option and the text', () => {
    for (const text of ['0', '-1', '1.5', 'many', 'Infinity', ''])
      assert.throws(
        () => parseCount('--days', text),
        (error) =>
          error instanceof KeyweaveError &&
          /^--days .*at least 1/.test(error.detail) &&
          error.detail.includes(JSON.stringify(text)),
        text,
      );
  });
});
