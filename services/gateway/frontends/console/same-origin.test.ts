import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { foreignRequest } from './same-origin.ts';

const codeOf = (scheme: 'http' | 'https', host: string, origin?: string) =>
  foreignRequest({ headers: { host, ...(origin !== undefined && { origin }) } }, scheme)?.code;

describe('a request to the console', () => {
  it('by HTTP is for this machine under its own names, on any port', () => {
    for (const host of ['localhost', 'LOCALHOST:9466', '127.0.0.1:9466', '127.8.0.1', '[::1]:9466', '[::1]'])
      assert.equal(codeOf('http', host), undefined, host);
  });

  it('by HTTP under any other name is refused, also where that leads here', () => {
    for (const host of [
      ...['', 'console.example', '127.0.0.1.example:9466', '127.example', 'localhost.example', 'x@localhost'],
      ...['10.0.0.1', '0.0.0.0', '[::]', '::1', '127.0.0.1:9466:1', 'localhost/', 'localhost:'],
    ])
      assert.equal(codeOf('http', host), 421, host);
  });

  it('by HTTPS may name the node as its certificate does', () => {
    assert.equal(codeOf('https', 'alice.example:9466'), undefined);
  });

  it('of the script of another page is refused', () => {
    assert.equal(codeOf('http', 'localhost:9466', 'http://localhost:9466'), undefined);
    for (const origin of ['http://localhost:8080', 'https://localhost:9466', 'http://evil.example', 'null'])
      assert.equal(codeOf('http', 'localhost:9466', origin), 403, origin);
    assert.equal(codeOf('https', 'alice.example', 'https://evil.example'), 403);
  });
});
