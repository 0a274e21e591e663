import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BadRequestError } from './bad-request-error.ts';
import { readQuery, readTarget } from './request-target.ts';
import { Resources } from './resources.ts';

describe('the target of a request', () => {
  for (const [url, segments, query] of [
    ['/a/b?x=1', ['a', 'b'], 'x=1'],
    ['/a/b/?x=1?y', ['a', 'b'], 'x=1?y'],
    ['/', [''], ''],
    ['//a', ['', 'a'], ''],
    ['/a%2Fb%20c/%C3%A9', ['a/b c', 'é'], ''],
    ['/a/../b', ['a', '..', 'b'], ''],
    ['https://kme:8443/a?x', ['a'], 'x'],
    ['HTTP://kme', [''], ''],
  ] as const) {
    it(`is read: ${url}`, () => assert.deepEqual(readTarget(url), { segments, query }));
  }

  it('is refused where it is no UTF-8', () => {
    for (const url of ['/%ff/a', '/a%', '/%zz']) assert.throws(() => readTarget(url), BadRequestError);
  });
});

describe('a query', () => {
  for (const [text, members] of [
    ['', {}],
    ['&&a=1&', { a: '1' }],
    ['a=b=c&d', { a: 'b=c', d: '' }],
    ['a+b=c%2Bd+e%20f', { 'a b': 'c+d e f' }],
    ['constructor=1&toString=2', { constructor: '1', toString: '2' }],
  ] as const) {
    it(`is read: ${text}`, () => assert.deepEqual(Object.entries(readQuery(text)), Object.entries(members)));
  }

  it('has no members that nobody sent', () => {
    assert.equal(readQuery('').constructor, undefined);
    assert.equal(readQuery('a=1').toString, undefined);
    assert.equal(Object.getPrototypeOf(readQuery('__proto__=1')), null);
  });

  it('is refused where a member stands twice, or is no UTF-8', () => {
    for (const text of ['a=1&a=1', 'a=1&%61=2', 'a=%ff', '%=1', '__proto__=1&__proto__=2']) {
      assert.throws(() => readQuery(text), BadRequestError, text);
    }
  });
});

describe('resources', () => {
  const handlers = { GET: () => Buffer.alloc(0), POST: () => Buffer.alloc(0) };
  const resources = new Resources([
    { path: '/keys/{id}/status', handlers: { GET: handlers.GET } },
    { path: '/keys/{id}', handlers },
    { path: '/keys', handlers },
  ]);
  const found = (url: string) => {
    const { params, allow } = resources.find(readTarget(url)) ?? {};
    return params && [params, allow];
  };

  it('are found by their paths, with what stands in the place of names', () => {
    assert.deepEqual(found('/keys/a%2Fb/status'), [['a/b'], 'GET']);
    assert.deepEqual(found('/keys/status'), [['status'], 'GET, POST']);
    assert.deepEqual(found('/keys/'), [[], 'GET, POST']);
  });

  it('are at no other path', () => {
    for (const url of [
      '/',
      '/Keys',
      '/keys//',
      '/keys//status',
      '/keys/a/b',
      '/keys/a/status/x',
      '*',
      'xkeys',
    ]) {
      assert.equal(found(url), undefined, url);
    }
  });
});
