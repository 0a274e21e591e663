import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { listen } from '#common/net/listen.ts';
import { createPlainConsoleServer } from './server.ts';

const LIMITS = {
  ...{ idle_timeout: 60_000, max_request_bytes: 1_000, request_timeout: 60_000, write_timeout: 60_000 },
};

interface Answer {
  readonly code: number | undefined;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly text: string;
}

let address: Address;
const { server, stop } = createPlainConsoleServer({
  calls: { state: ({ since }) => Buffer.from(`{"since":"${since}"}`) },
  limits: LIMITS,
  log: silentLog,
});
before(async () => {
  address = await listen(server, { host: '127.0.0.1', port: 0 });
});
after(() => stop(0));

function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const { host, port } = address;
  return new Promise((resolve, reject) => {
    const asking = request({ host, port, path, method, headers }, async (response) => {
      const parts: Buffer[] = [];
      for await (const part of response) parts.push(part);
      const text = Buffer.concat(parts).toString();
      resolve({ code: response.statusCode, headers: response.headers, text });
    });
    asking.on('error', reject).end();
  });
}

describe("the console's server", () => {
  it('gives the page and all that it loads, each with its type, again and again', async () => {
    const page = await ask('/');
    assert.match(page.text, /^<!doctype html>/);
    const loaded = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path = '']) => path);
    const script = await ask('/console.js');
    loaded.push(...[...script.text.matchAll(/from '\.(\/[^']+)'/g)].map(([, path = '']) => path));
    assert.ok(loaded.length >= 8, loaded.join());
    for (const path of loaded) {
      const first = await ask(path);
      assert.equal(first.code, 200, path);
      const type = path.endsWith('.js')
        ? 'text/javascript'
        : path.endsWith('.css')
          ? 'text/css'
          : 'image/svg';
      assert.ok(`${first.headers['content-type']}`.startsWith(type), path);
      assert.equal((await ask(path)).text, first.text, 'an answer that was wiped was sent again');
    }
  });

  it('tells the state since a moment', async () => {
    const { text, headers } = await ask('/api/state?since=7');
    assert.deepEqual([text, headers['content-type']], ['{"since":"7"}', 'application/json']);
  });

  it('has every answer keep others out', async () => {
    for (const path of ['/', '/api/state', '/nowhere']) {
      const { headers } = await ask(path);
      assert.match(`${headers['content-security-policy']}`, /^default-src 'self'; .*frame-ancestors 'none'/);
      const others = ['x-content-type-options', 'x-frame-options', 'cache-control', 'referrer-policy'];
      assert.deepEqual(
        others.map((name) => headers[name]),
        ['nosniff', 'DENY', 'no-store', 'no-referrer'],
        path,
      );
    }
  });

  it('changes nothing for anybody, and has no other files', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'])
      assert.equal((await ask('/api/state', {}, method)).code, 405, method);
    for (const path of ['/tsconfig.json', '/../server.ts', '/%2e%2e/server.ts', '/index.html', '/page'])
      assert.equal((await ask(path)).code, 404, path);
  });

  it('is for its own page, under its own name', async () => {
    assert.equal((await ask('/api/state', { Host: `evil.example:${address.port}` })).code, 421);
    assert.equal((await ask('/', { Origin: 'http://evil.example' })).code, 403);
  });
});
