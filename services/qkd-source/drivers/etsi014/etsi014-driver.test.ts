import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { after, describe, it, type TestContext } from 'node:test';
import { nodeConfigSchema } from '#common/config/node-config.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import {
  type QkdDriverPairFactory,
  qkdDriverContract,
  qkdStreamName,
} from '#test/contract/qkd-driver-contract.ts';
import { ANY_PORT, driverPair, simulatedPairs } from '#test/helpers/driver-pairs.ts';
import { makeKmeTls } from '#test/helpers/kme-tls.ts';
import { numbered } from '#test/helpers/named-pairs.ts';
import type { KmeSimulatorOptions } from '../../../kme-simulator/main.ts';
import type { NamedKeys, QkdDriver } from '../qkd-driver.ts';
import { createEtsi014Driver } from './etsi014-driver.ts';

const never = new AbortController().signal;
const STREAM = qkdStreamName();
const NODES = [STREAM.sourceNode, STREAM.destinationNode];
const KEY = Buffer.alloc(32, 7).toString('base64');

const create: Parameters<typeof driverPair>[1] = (address, qkd, end) =>
  createEtsi014Driver(address, qkd, { nodeUuid: NODES[end] as string });

const simulated = (options: Partial<KmeSimulatorOptions>, change: object = {}): QkdDriverPairFactory => {
  const factory = simulatedPairs(create, { dialect: 'etsi014', saeIds: NODES, ...options }, change);
  return async (t, timeoutMs) => {
    const pair = await factory(t, timeoutMs);
    const [a, b] = numbered(pair.a, pair.b);
    return { ...pair, a, b };
  };
};

const noStreams = { hasStreams: false };
qkdDriverContract('ETSI 014', simulated({}), noStreams);
qkdDriverContract('ETSI 014, one key a request', simulated({ limits: { maxPerRequest: 1 } }), noStreams);
qkdDriverContract(
  'ETSI 014, a new connection for each call',
  simulated({ habit: 'close-after-answer' }),
  noStreams,
);
qkdDriverContract('ETSI 014, byte by byte', simulated({ habit: 'byte-by-byte' }), noStreams);

const tls = await makeKmeTls();
after(() => tls.remove());
const unavailable = (words: RegExp) => (error: unknown) =>
  isReason(error, 'QKD_UNAVAILABLE') && words.test(String(error));

/** Both ends open, and their handles. */
async function opened(t: TestContext, options: Partial<KmeSimulatorOptions> = {}, change: object = {}) {
  const pair = await driverPair(t, create, { dialect: 'etsi014', saeIds: NODES, ...options }, change);
  const atA = await pair.a.open(STREAM, 32, '', never);
  const atB = await pair.b.open(STREAM, 32, atA, never);
  return { ...pair, atA, atB, namedA: namedOf(pair.a), namedB: namedOf(pair.b) };
}

function namedOf({ named }: QkdDriver): NamedKeys {
  assert.ok(named);
  return named;
}

/** A driver at a key manager of the test's own. */
async function driverAt(
  t: TestContext,
  answer: (request: { url: string; body: unknown }) => { code?: number; json?: unknown } | 'cut',
  change: object = {},
) {
  const seen: { url: string; body: unknown }[] = [];
  const server = createServer(async (request, response) => {
    const { url = '' } = request;
    const text = await textOf(request);
    const asked = { url, body: text === '' ? undefined : JSON.parse(text) };
    seen.push(asked);
    const answered = answer(asked);
    if (answered === 'cut') {
      request.socket.destroy();
      return;
    }
    const { code = 200, json } = answered;
    response.writeHead(code).end(json === undefined ? '' : JSON.stringify(json));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as { port: number };
  const settings = nodeConfigSchema.shape.qkd.parse({ timeout: '5s', ...change });
  const driver = createEtsi014Driver({ ...ANY_PORT, port }, settings, { nodeUuid: STREAM.sourceNode });
  t.after(() => {
    driver.stop();
    server.close();
    server.closeAllConnections();
  });
  return { driver, seen, named: namedOf(driver) };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString();
}

const STATUS = {
  ...{ source_KME_ID: 'k', target_KME_ID: 'l', master_SAE_ID: 'a', slave_SAE_ID: 'b' },
  ...{ key_size: 256, stored_key_count: 10, max_key_count: 10, max_key_per_request: 10 },
  ...{ max_key_size: 256, min_key_size: 256, max_SAE_ID_count: 0 },
};
const isStatus = ({ url }: { url: string }) => url.endsWith('/status');
const keysOf = (count: number, key = KEY) => ({
  keys: Array.from({ length: count }, () => ({ key_ID: randomUUID(), key })),
});

describe('ETSI 014 driver', () => {
  it('finds exactly the keys that the other end has taken, in whatever order', async (t) => {
    const { atA, atB, namedA, namedB, kme } = await opened(t);
    const { keys, names } = await namedA.take(atA, 300, 32, never);
    assert.deepEqual([keys.length, names.length], [300 * 32, 300]);
    const back = await namedB.find(atB, names.slice(200).toReversed(), 32, never);
    assert.deepEqual(back.subarray(0, 32), keys.subarray(299 * 32));
    assert.deepEqual(await namedB.find(atB, names.slice(0, 200), 32, never), keys.subarray(0, 200 * 32));
    assert.equal(kme.state().heldBytes, 0);
    await assert.rejects(namedB.find(atB, names.slice(0, 1), 32, never), unavailable(/not found on KME/));
  });

  it('shows its certificate, and is told where that is of another SAE', async (t) => {
    const saeIds = ['sae-a', 'sae-b'];
    const sae_ids = { [STREAM.sourceNode]: 'sae-a', [STREAM.destinationNode]: 'sae-b' };
    const clients = [await tls.client('sae-a'), await tls.client('sae-b')];
    const withTls: typeof create = (address, qkd, end) => create(address, { ...qkd, tls: clients[end] }, end);
    const options = { dialect: 'etsi014', saeIds, tls: tls.server } as const;
    const { a, b } = await driverPair(t, withTls, options, { sae_ids });
    const atA = await a.open(STREAM, 32, '', never);
    const { keys, names } = await namedOf(a).take(atA, 3, 32, never);
    const atB = await b.open(STREAM, 32, atA, never);
    assert.deepEqual(await namedOf(b).find(atB, names, 32, never), keys);
    const stranger = createEtsi014Driver(
      { ...ANY_PORT, port: 1 },
      nodeConfigSchema.shape.qkd.parse({ tls: clients[0] }),
      { nodeUuid: STREAM.sourceNode },
    );
    t.after(() => stranger.stop());
    await assert.rejects(stranger.open(STREAM, 32, '', never), unavailable(/cannot be reached/));
    const swapped: typeof create = (address, qkd, end) =>
      create(address, { ...qkd, tls: clients[1 - end] }, end);
    const wrong = await driverPair(t, swapped, options, { sae_ids });
    await assert.rejects(wrong.a.open(STREAM, 32, '', never), unavailable(/refuses status with 401/));
    const foreign: typeof create = (address, qkd, end) =>
      create(address, { ...qkd, tls: { ...clients[end], ca_path: tls.otherCaPath } as never }, end);
    const other = await driverPair(t, foreign, options, { sae_ids });
    await assert.rejects(other.a.open(STREAM, 32, '', never), unavailable(/cannot be reached/));
  });

  it('makes a key of several where the key manager gives shorter ones', async (t) => {
    const limits = { defaultBits: 128, minBits: 128, maxBits: 128 };
    const { atA, atB, namedA, namedB, kme } = await opened(t, { limits });
    const { keys, names } = await namedA.take(atA, 5, 32, never);
    assert.equal(names.length, 5);
    assert.equal(names[0]?.length, 36 * 2 + 1);
    assert.equal(kme.state().keysMade, 10);
    assert.deepEqual(await namedB.find(atB, names, 32, never), keys);
  });

  it('takes the beginning of a key where the key manager gives longer ones', async (t) => {
    const { atA, atB, namedA, namedB } = await opened(t, { limits: { minBits: 512, defaultBits: 512 } });
    const { keys, names } = await namedA.take(atA, 3, 32, never);
    assert.equal(keys.length, 96);
    assert.deepEqual(await namedB.find(atB, names, 32, never), keys);
  });

  it('refuses sizes that the key manager cannot be made to fill', async (t) => {
    const { a } = await driverPair(t, create, {
      dialect: 'etsi014',
      saeIds: NODES,
      limits: { defaultBits: 64, minBits: 64, maxBits: 64 },
    });
    await assert.rejects(a.open(STREAM, 33, '', never), unavailable(/64 to 64 bits/));
  });

  it('says what is wrong with an unknown SAE', async (t) => {
    const { a } = await driverPair(t, create, { dialect: 'etsi014', saeIds: ['x', 'y'] });
    await assert.rejects(a.open(STREAM, 32, '', never), unavailable(/status with 404: the SAE is not known/));
  });

  it('reads only what is for its own end', async (t) => {
    const { atA, namedA, namedB, b } = await opened(t);
    const { names } = await namedA.take(atA, 1, 32, never);
    await assert.rejects(namedA.find(atA, names, 32, never), unavailable(/for this end/));
    await assert.rejects(namedB.take(atA, 1, 32, never), unavailable(/for this end/));
    for (const handle of ['', 'a', 'a b c', '%', `${NODES[0]}%`]) {
      await assert.rejects(namedA.take(handle, 1, 32, never), unavailable(/for this end/), handle);
    }
    const elsewhere = { ...STREAM, sourceNode: 'cccccccc-cccc-cccc-cccc-cccccccccccc', destinationNode: 'd' };
    await assert.rejects(b.open(elsewhere, 32, '', never), unavailable(/neither end/));
    await assert.rejects(b.fetch(atA, 0n, 1, 32, never), unavailable(/numbers no keys/));
  });

  it('finds nothing by what is no key_ID', async (t) => {
    const { atB, namedB, kme } = await opened(t);
    const connections = kme.state().ends[1]?.connections;
    for (const name of ['', 'x', `${randomUUID()} x`, `../${randomUUID()}`, 'a'.repeat(160)]) {
      const bad = namedB.find(atB, [Buffer.from(name)], 32, never);
      await assert.rejects(bad, unavailable(/no key_ID/), name);
    }
    assert.equal(kme.state().ends[1]?.connections, connections);
  });

  it('asks for as many keys at once as the key manager gives, and takes fewer for dry', async (t) => {
    let left = 25;
    const { driver, seen, named } = await driverAt(t, (asked) => {
      if (isStatus(asked)) return { json: STATUS };
      const { number } = asked.body as { number: number };
      const given = Math.min(number, left);
      left -= given;
      return { json: keysOf(given) };
    });
    const handle = await driver.open(STREAM, 32, '', never);
    const { names } = await named.take(handle, 40, 32, never);
    assert.equal(names.length, 25);
    assert.deepEqual(
      seen.filter((asked) => !isStatus(asked)).map(({ body }) => body),
      [10, 10, 10].map((number) => ({ number, size: 256 })),
    );
  });

  for (const code of [400, 404, 503]) {
    it(`asks for one where ${code} is the answer to several`, async (t) => {
      const { driver, seen, named } = await driverAt(t, (asked) => {
        if (isStatus(asked)) return { json: STATUS };
        return (asked.body as { number: number }).number > 1
          ? { code, json: { message: 'too many' } }
          : { json: keysOf(1) };
      });
      const handle = await driver.open(STREAM, 32, '', never);
      const { names } = await named.take(handle, 4, 32, never);
      assert.equal(names.length, 1);
      assert.equal(seen.length, 3);
    });
  }

  it('is dry where there is none, and says why it is refused else', async (t) => {
    let code = 404;
    const { driver, named } = await driverAt(t, (asked) =>
      isStatus(asked) ? { json: STATUS } : { code, json: { message: 'as the test says' } },
    );
    const handle = await driver.open(STREAM, 32, '', never);
    for (code of [404, 503]) assert.equal((await named.take(handle, 2, 32, never)).names.length, 0);
    for (code of [400, 401, 409, 500, 504]) {
      await assert.rejects(
        named.take(handle, 2, 32, never),
        unavailable(new RegExp(`refuses enc_keys with ${code}: as the test says`)),
      );
    }
  });

  it('waits a moment for a key that the other key manager does not know yet', async (t) => {
    let asked = 0;
    const id = randomUUID();
    const { driver, named } = await driverAt(t, (request) => {
      if (isStatus(request)) return { json: STATUS };
      asked += 1;
      return asked < 3 ? { code: 400 } : { json: { keys: [{ key_ID: id.toUpperCase(), key: KEY }] } };
    });
    const slave = { ...STREAM, sourceNode: STREAM.destinationNode, destinationNode: STREAM.sourceNode };
    const handle = await driver.open(slave, 32, '', never);
    assert.deepEqual(await named.find(handle, [Buffer.from(id)], 32, never), Buffer.alloc(32, 7));
    assert.equal(asked, 3);
  });

  it('never asks for new keys twice where the answer is lost', async (t) => {
    const { driver, seen, named } = await driverAt(t, (asked) =>
      isStatus(asked) ? { json: STATUS } : 'cut',
    );
    const handle = await driver.open(STREAM, 32, '', never);
    await assert.rejects(named.take(handle, 1, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    assert.equal(seen.filter((asked) => !isStatus(asked)).length, 1);
  });

  const broken: [string, unknown][] = [
    ['no container', { key: 'x' }],
    ['keys that are no list', { keys: { key_ID: randomUUID(), key: KEY } }],
    ['a key that is no base64', keysOf(1, '***')],
    ['a key_ID that is none', { keys: [{ key_ID: '../../etc', key: KEY }] }],
    ['an endless answer', { keys: [], padding: 'x'.repeat(100_000) }],
  ];
  for (const [what, json] of broken) {
    it(`takes no key from ${what}`, async (t) => {
      const { driver, named } = await driverAt(t, (asked) => (isStatus(asked) ? { json: STATUS } : { json }));
      const handle = await driver.open(STREAM, 32, '', never);
      await assert.rejects(named.take(handle, 1, 32, never), (error) => isReason(error, 'QKD_OUT_OF_STEP'));
    });
  }

  it('takes no key of another size', async (t) => {
    for (const bytes of [31, 0]) {
      const { driver, named } = await driverAt(t, (asked) =>
        isStatus(asked) ? { json: STATUS } : { json: keysOf(1, Buffer.alloc(bytes, 1).toString('base64')) },
      );
      const handle = await driver.open(STREAM, 32, '', never);
      await assert.rejects(named.take(handle, 1, 32, never), unavailable(/keys of 32 bytes/));
    }
  });

  it('reads a container as the table of the standard prints it', async (t) => {
    const { driver, named } = await driverAt(t, (asked) =>
      isStatus(asked) ? { json: STATUS } : { json: { Keys: keysOf(1).keys, key_container_extension: {} } },
    );
    const handle = await driver.open(STREAM, 32, '', never);
    assert.deepEqual((await named.take(handle, 1, 32, never)).keys, Buffer.alloc(32, 7));
  });

  it('does not start with files that cannot be used', () => {
    const settings = nodeConfigSchema.shape.qkd.parse({ tls: { ca_path: '/nowhere/ca.crt' } });
    assert.throws(
      () => createEtsi014Driver(ANY_PORT, settings, { nodeUuid: STREAM.sourceNode }),
      (error) => isReason(error, 'BAD_CONFIG'),
    );
  });
});
