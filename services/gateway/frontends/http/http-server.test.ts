import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createCa } from '#certs/issue.ts';
import type { Address } from '#common/config/fields.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { listen } from '#common/net/listen.ts';
import { clientCertificate } from '#test/helpers/client-certificate.ts';
import { rawConnection } from '#test/helpers/rest-client.ts';
import { createHttpServer, type HttpServerOptions } from './http-server.ts';

const LIMITS = {
  ...{ idle_timeout: 60_000, max_connections: 100, max_request_bytes: 1_000 },
  ...{ request_timeout: 60_000, write_timeout: 60_000 },
};
const PATIENCE_MS = 60_000;

const ca = await createCa({ network: 'keyweave', days: 1 });
const { certificate: cert, key } = await clientCertificate(ca, { subject: 'CN=a' });
const TLS = { cert, key, ca: ca.certificate };

/** A server with something at each of three paths, and what its calls have made. */
async function world(change: Partial<HttpServerOptions<string>> = {}) {
  const bodies: Buffer[] = [];
  const waiting: PromiseWithResolvers<Buffer>[] = [];
  const made = (text: string) => {
    const body = Buffer.from(JSON.stringify(text));
    bodies.push(body);
    return body;
  };
  const { server, stop } = createHttpServer<string>({
    ...{ tls: { ...TLS, requestCert: true }, limits: LIMITS, callMs: 60_000 },
    resources: [
      { path: '/now/{what}', handlers: { GET: ({ params }) => made(params[0] as string) } },
      { path: '/large', handlers: { GET: () => made('x'.repeat(50_000)) } },
      { path: '/echo', handlers: { GET: () => made(''), POST: ({ body }) => made(body.toString()) } },
      {
        path: '/later',
        handlers: {
          GET: () => {
            const one = Promise.withResolvers<Buffer>();
            waiting.push(one);
            return one.promise;
          },
        },
      },
    ],
    callerOf: () => 'a',
    stranger: 'a stranger',
    refusalOf: (thrown) => ({ code: 503, message: KeyweaveError.from(thrown).reason }),
    ...change,
  });
  const address: Address = await listen(server, { host: '127.0.0.1', port: 0 });
  const clients: Client[] = [];
  after(async () => {
    for (const { socket } of clients) socket.destroy();
    await stop(0);
  });
  const client = async () => {
    const one = new Client(await rawConnection(address, { ...TLS, checkServerIdentity: () => undefined }));
    clients.push(one);
    return one;
  };
  return { client, bodies, waiting, made, stop };
}

async function until(check: () => boolean): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!check()) {
    assert.ok(performance.now() < end, `never: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

class Client {
  readonly socket: TLSSocket;
  #text = '';

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.#text += data;
    });
  }

  send(method: string, path: string, more = ''): void {
    this.socket.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`);
  }

  /** Code, body and header of the next answer; `hasBody` is false for one to HEAD. */
  async answer(hasBody = true): Promise<[code: number, body: unknown, header: string]> {
    await until(() => this.#text.includes('\r\n\r\n'));
    const start = this.#text.indexOf('\r\n\r\n') + 4;
    const header = this.#text.slice(0, start);
    const bytes = hasBody ? Number(/content-length: (\d+)/i.exec(header)?.[1]) : 0;
    await until(() => this.#text.length >= start + bytes);
    const body = this.#text.slice(start, start + bytes);
    this.#text = this.#text.slice(start + bytes);
    return [Number(header.slice(9, 12)), body === '' ? undefined : JSON.parse(body), header];
  }

  async ended(): Promise<void> {
    if (!this.socket.closed) await once(this.socket, 'close');
    assert.equal(this.#text, '', 'there is more than one answer');
  }
}

const codeAndBody = async (client: Client) => (await client.answer()).slice(0, 2);

describe('the HTTP server', () => {
  it('answers what it is asked on one connection, in order, each once', async () => {
    const { client, waiting, made } = await world();
    const one = await client();
    one.send('GET', '/now/a%20b');
    assert.deepEqual(await codeAndBody(one), [200, 'a b']);
    one.send('GET', '/later');
    one.send('GET', '/now/after');
    one.send('POST', '/echo', 'Content-Length: 3\r\n');
    one.socket.write('abc');
    await until(() => waiting.length === 1);
    waiting[0]?.resolve(made('later'));
    const answers = [await codeAndBody(one), await codeAndBody(one), await codeAndBody(one)];
    assert.deepEqual(answers, [
      [200, 'later'],
      [200, 'after'],
      [200, 'abc'],
    ]);
  });

  it('tells what is not there, and what is not done', async () => {
    const { client } = await world();
    const one = await client();
    one.send('GET', '/nowhere');
    assert.deepEqual(await codeAndBody(one), [404, { message: 'there is no such resource' }]);
    for (const verb of ['PUT', 'OPTIONS', 'PROPFIND']) {
      one.send(verb, '/echo');
      const [code, body, header] = await one.answer();
      assert.deepEqual([code, body], [405, { message: 'by GET, POST only' }]);
      assert.match(header, /\r\nAllow: GET, POST\r\n/);
    }
    one.send('HEAD', '/now/a');
    assert.equal((await one.answer(false))[0], 405);
    one.send('GET', '/now/%ff');
    assert.equal((await one.answer())[0], 503, 'what refusalOf says of a target that cannot be read');
  });

  it('tells a stranger so, whatever it asks', async () => {
    const { client } = await world({ callerOf: () => undefined });
    const one = await client();
    for (const path of ['/now/a', '/nowhere']) {
      one.send('GET', path);
      assert.deepEqual(await codeAndBody(one), [401, { message: 'a stranger' }]);
    }
  });

  it('ends the connection where a body is too large, whether it says so or comes in chunks', async () => {
    const { client, bodies } = await world();
    const refused = [400, { message: 'the body has more than 1000 bytes' }];
    const said = await client();
    said.send('POST', '/echo', 'Content-Length: 1001\r\n');
    assert.deepEqual(await codeAndBody(said), refused);
    await said.ended();
    const chunked = await client();
    chunked.send('POST', '/echo', 'Transfer-Encoding: chunked\r\n');
    chunked.socket.write(`3E8\r\n${'x'.repeat(1_000)}\r\n1\r\nx\r\n`);
    assert.deepEqual(await codeAndBody(chunked), refused);
    await chunked.ended();
    assert.equal(bodies.length, 0);
    const most = await client();
    most.send('POST', '/echo', 'Content-Length: 1000\r\n');
    most.socket.write('x'.repeat(1_000));
    assert.deepEqual(await codeAndBody(most), [200, 'x'.repeat(1_000)]);
  });

  it('answers what is no HTTP, what has too large a header, and what comes too slowly, and ends it', async () => {
    const hurried = await world({ limits: { ...LIMITS, request_timeout: 1_000 } });
    const patient = await world();
    for (const [text, code] of [
      ['no request at all\r\n\r\n', 400],
      ['GET /now/a HTTP/1.1\r\n\r\n', 400],
      ['GET /now/a HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n', 417],
      [`GET /now/a HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}`, 431],
      ['GET /now/a HTTP/1.1\r\nHost:', 408],
      ['POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na', 408],
    ] as const) {
      const one = await (code === 408 ? hurried : patient).client();
      one.socket.write(text);
      const [got, body] = await one.answer();
      assert.deepEqual([got, Object.keys(body as object)], [code, ['message']], text.slice(0, 40));
      await one.ended();
    }
  });

  it('never gives one answer for another: what cannot be read behind a call that waits ends both', async () => {
    const { client, waiting, made } = await world();
    const one = await client();
    one.send('GET', '/later');
    await until(() => waiting.length === 1);
    one.socket.write('no request at all\r\n\r\n');
    await one.ended();
    const body = made('too late');
    waiting[0]?.resolve(body);
    await until(() => body.every((byte) => byte === 0));
  });

  it('wipes what it has sent', async () => {
    const { client, bodies } = await world();
    const one = await client();
    one.send('GET', '/now/secret');
    assert.deepEqual(await codeAndBody(one), [200, 'secret']);
    await until(() => bodies[0]?.every((byte) => byte === 0) === true);
  });

  it('wipes what waits behind another answer when the client goes', async () => {
    const { client, bodies, waiting } = await world();
    const one = await client();
    one.send('GET', '/later');
    one.send('GET', '/now/secret');
    await until(() => waiting.length === 1 && bodies.length === 1);
    one.socket.destroy();
    await until(() => bodies[0]?.every((byte) => byte === 0) === true);
  });

  it('leaves the requests of one who never reads where they are', async () => {
    const { client, bodies } = await world();
    const one = await client();
    one.socket.pause();
    const requests = 1_000;
    one.socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(requests));
    let before = -1;
    // Until nothing more is done.
    while (before !== bodies.length) {
      before = bodies.length;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(before > 0 && before < requests, `${before} were done`);
    one.socket.resume();
    await until(() => bodies.length === requests);
  });

  it('stops: idle connections end, calls under way are answered, and what takes too long is cut', async () => {
    const { client, waiting, made, stop } = await world();
    const [idle, busy, stuck] = [await client(), await client(), await client()];
    busy.send('GET', '/later');
    await until(() => waiting.length === 1);
    stuck.send('GET', '/later');
    await until(() => waiting.length === 2);
    const stopped = stop(500);
    await idle.ended();
    waiting[0]?.resolve(made('in time'));
    const [code, body, header] = await busy.answer();
    assert.deepEqual([code, body], [200, 'in time']);
    assert.match(header, /\r\nConnection: close\r\n/);
    await busy.ended();
    await stopped;
    await stuck.ended();
  });
});
