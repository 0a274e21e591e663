import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { HYBRIDIZATION_METHODS } from '#common/catalogue/methods.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { keyOf, openData, openPair, QOS, sendRaw, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes();

const text = (value: unknown) => Buffer.from(JSON.stringify(value));

describe('a stream between two nodes (ETSI GS QKD 004 V2.1.1 clause 6)', () => {
  for (const { name: method } of HYBRIDIZATION_METHODS) {
    it(`gives equal keys at both ends by ${method}, each once`, async () => {
      const pair = await openPair(
        network,
        openData(alice, bob, `hybridization=${method}&kem_mec=ml-kem-786`),
      );
      assert.equal(pair.opened[0].status, 0, pair.opened[0].message);
      assert.deepEqual(pair.opened[1].key_stream_id, pair.ksid);
      const seen = new Set<string>();
      for (let i = 0; i < 20; i++) {
        const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
        assert.deepEqual(keyOf(a), keyOf(b));
        assert.equal(a.index, i);
        assert.equal(b.index, i);
        seen.add(keyOf(a).toString('hex'));
      }
      assert.equal(seen.size, 20);
      await pair.close();
    });
  }

  it('works from the destination node to the source node too, and without a query', async () => {
    const data = openData(bob, alice, '');
    const pair = await openPair(network, {
      ...data,
      source: data.source.replace('?', ''),
      destination: data.destination.replace('?', ''),
    });
    const answers = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
    assert.deepEqual(keyOf(answers[0]), keyOf(answers[1]));
    assert.match(
      answers[0].metadata?.buffer ?? '',
      /"sources":\["ML-KEM-768","QKD"\],"method":"hkdf-sha384"/,
    );
    await pair.close();
  });

  it('serves one end alone, and the other later with the same keys', async () => {
    const pair = await openPair(network, openData(alice, bob));
    for (const [first, second] of [
      [pair.a, pair.b],
      [pair.b, pair.a],
    ] as const) {
      const early: string[] = [];
      for (let i = 0; i < 5; i++) early.push(keyOf(await first.getKey(pair.ksid)).toString('hex'));
      const late: string[] = [];
      for (let i = 0; i < 5; i++) late.push(keyOf(await second.getKey(pair.ksid)).toString('hex'));
      assert.deepEqual(late, early);
    }
    await pair.close();
  });

  it('waits at one end for the other to open', async () => {
    for (const [first, second] of [
      [alice, bob],
      [bob, alice],
    ] as const) {
      const data = openData(alice, bob);
      const early = await Etsi004Client.connect(first.json);
      const opening = early.open(data);
      const late = await Etsi004Client.connect(second.json);
      const joined = await late.open(data);
      const opened = await opening;
      assert.deepEqual([opened.status, joined.status], [0, 0]);
      assert.equal(opened.key_stream_id, joined.key_stream_id);
      early.disconnect();
      late.disconnect();
    }
  });

  it('times out with status 6 and the message of the reference when the other end never opens', async () => {
    const data = openData(alice, bob, undefined, { timeout: 300 });
    for (const [node, message] of [
      [alice, /The read operation timed out/],
      [bob, /The client peer did not start the session/],
    ] as const) {
      const client = await Etsi004Client.connect(node.json);
      const answer = await client.open(data);
      assert.equal(answer.status, 6);
      assert.match(answer.message, message);
      client.disconnect();
    }
  });

  it('joins by KSID, given or predefined, and refuses one of another pair with status 5', async () => {
    for (const order of [0, 1]) {
      const ksid = randomUUID();
      const data = { ...openData(alice, bob), key_stream_id: ksid };
      const [a, b] = await Promise.all([Etsi004Client.connect(alice.json), Etsi004Client.connect(bob.json)]);
      const [first, second] = order === 0 ? [a, b] : [b, a];
      const opening = first.open(data);
      const answers = await Promise.all([opening, second.open(data)]);
      assert.deepEqual(
        answers.map((answer) => [answer.status, answer.key_stream_id]),
        [
          [0, ksid],
          [0, ksid],
        ],
      );
      const stranger = await a.open({
        ...openData(alice, bob, undefined, { timeout: 300 }),
        key_stream_id: ksid,
      });
      assert.equal(stranger.status, 5);
      const stranger2 = await b.open({
        ...openData(alice, bob, undefined, { timeout: 300 }),
        key_stream_id: ksid,
      });
      assert.equal(stranger2.status, 5);
      assert.deepEqual(keyOf(await a.getKey(ksid)), keyOf(await b.getKey(ksid)));
      a.disconnect();
      b.disconnect();
    }
  });

  it('delivers explicit indexes out of order, once, and refuses what has gone or lies beyond the window', async () => {
    const pair = await openPair(network, openData(alice, bob));
    const at = async (index: number) => {
      const [a, b] = await Promise.all([pair.a.getKey(pair.ksid, index), pair.b.getKey(pair.ksid, index)]);
      assert.deepEqual(keyOf(a), keyOf(b));
      assert.deepEqual([a.index, b.index], [index, index]);
    };
    await at(7);
    await at(3);
    for (const gone of [7, 3]) assert.equal((await pair.a.getKey(pair.ksid, gone)).status, 2);
    assert.equal((await pair.a.getKey(pair.ksid, 4_000_000)).status, 2);
    assert.equal((await pair.b.getKey(pair.ksid)).index, 0);
    await pair.close();
  });

  it('gives the metadata that fits the room, and the key always', async () => {
    const pair = await openPair(network, openData(alice, bob));
    const ask = async (size: number) =>
      (
        await sendRaw(alice.json, [
          text({
            command: 'GET_KEY',
            data: { key_stream_id: pair.ksid, index: 0, metadata: { size, buffer: '' } },
          }),
        ])
      )[0] as {
        status: number;
        index?: number;
        metadata?: { size: number; buffer: string };
      };
    const rooms: [size: number, given: string[] | undefined][] = [
      [0, undefined],
      [4, undefined],
      [46, ['age', 'hops']],
      [4096, ['age', 'hops', 'sources', 'method', 'policy', 'policy_met', 'degraded']],
    ];
    for (const [i, [size, given]] of rooms.entries()) {
      const answer = await ask(size);
      assert.deepEqual([answer.status, answer.index], [0, i], `room ${size}`);
      const { buffer } = answer.metadata ?? {};
      assert.deepEqual(buffer === undefined ? undefined : Object.keys(JSON.parse(buffer)), given);
      assert.equal(answer.metadata?.size, buffer?.length);
      assert.ok((answer.metadata?.size ?? 0) <= size);
    }
    await pair.close();
  });

  it('ends with CLOSE: nothing here any more, at the other end what was confirmed and then status 3', async () => {
    const pair = await openPair(network, openData(alice, bob));
    keyOf(await pair.a.getKey(pair.ksid));
    const closed = await pair.a.close(pair.ksid);
    assert.equal(closed.status, 0);
    for (const answer of [await pair.a.getKey(pair.ksid), await pair.a.close(pair.ksid)]) {
      assert.equal(answer.status, 3);
      assert.match(answer.message, /No interface selected/);
    }
    let last = await pair.b.getKey(pair.ksid);
    for (let i = 0; last.status === 0 && i < 2000; i++) last = await pair.b.getKey(pair.ksid);
    assert.equal(last.status, 3);
    assert.equal((await pair.b.close(pair.ksid)).status, 0);
    await pair.close();
  });

  it('erases everything when the TTL has run out', async () => {
    const pair = await openPair(network, openData(alice, bob, undefined, { ttl: 1 }));
    keyOf(await pair.a.getKey(pair.ksid));
    await new Promise((resolve) => setTimeout(resolve, 1300));
    for (const client of [pair.a, pair.b]) assert.equal((await client.getKey(pair.ksid)).status, 3);
    await pair.close();
  });
});

describe('chunk sizes', () => {
  const cases: [method: string, asked: number, status: number, given: number | undefined][] = [
    ['xoring', 0, 7, 32],
    ['xoring', -1, 1, undefined],
    ['xoring', 16, 0, 16],
    ['xoring', 32, 0, 32],
    ['xoring', 48, 7, 32],
    ['hmac', 64, 7, 32],
    ['xorhmac', 1_000_000, 7, 32],
    ['hkdf-sha384', 16, 0, 16],
    ['hkdf-sha384', 48, 0, 48],
    ['hkdf-sha384', 64, 0, 64],
    ['hkdf-sha384', 1_000_000, 7, 255 * 48],
  ];
  for (const [method, asked, status, given] of cases) {
    it(`${asked} by ${method}: status ${status}${given ? `, ${given} bytes` : ''}`, async () => {
      const query = `hybridization=${method}&key_sources=ML-KEM-768,QKD`;
      const pair = await openPair(
        network,
        openData(alice, bob, query, { key_chunk_size: asked, timeout: 5000 }),
      );
      for (const answer of pair.opened) {
        assert.equal(answer.status, status, answer.message);
        assert.equal(answer.qos?.key_chunk_size, given);
      }
      if (given !== undefined) {
        const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
        assert.deepEqual(keyOf(a, given), keyOf(b, given));
        assert.ok(
          keyOf(a, given)
            .subarray(-8)
            .some((byte) => byte !== 0),
        );
      }
      await pair.close();
    });
  }
});

describe('requests that are not as they should be', () => {
  const valid = () => text({ command: 'CLOSE', data: { key_stream_id: randomUUID() } });
  const open = (change: object) =>
    text({
      command: 'OPEN_CONNECT',
      data: { ...openData(alice, bob, undefined, { timeout: 300 }), ...change },
    });
  const cases: [string, () => Buffer, RegExp][] = [
    ['an array', () => text([1, 2]), /JSON object/],
    ['nested garbage', () => text({ command: { a: [{}] }, data: [] }), /Unknown command/],
    ['deep nesting', () => Buffer.from('['.repeat(200) + ']'.repeat(200)), /Invalid JSON/],
    ['no JSON', () => Buffer.from('hello\n'), /Invalid JSON/],
    ['broken JSON', () => Buffer.from('{"command":}'), /Invalid JSON/],
    [
      'invalid UTF-8',
      () => Buffer.concat([Buffer.from('{"command":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
      /Invalid JSON/,
    ],
    ['200 KB', () => text({ command: 'CLOSE', data: { key_stream_id: 'x'.repeat(200_000) } }), /65536 bytes/],
    ['an unknown command', () => text({ command: 'DELETE', data: {} }), /Unknown command/],
    ['no data', () => text({ command: 'GET_KEY' }), /GET_KEY.*data/],
    ['no key_stream_id', () => text({ command: 'GET_KEY', data: { index: 0 } }), /key_stream_id/],
    [
      'a key_stream_id that is no UUID',
      () => text({ command: 'CLOSE', data: { key_stream_id: 'x' } }),
      /not a UUID/,
    ],
    [
      'an index of the wrong type',
      () => text({ command: 'GET_KEY', data: { key_stream_id: randomUUID(), index: '1' } }),
      /index/,
    ],
    [
      'a negative index',
      () => text({ command: 'GET_KEY', data: { key_stream_id: randomUUID(), index: -1 } }),
      /index/,
    ],
    ['no source', () => open({ source: undefined }), /source/],
    ['a source of the wrong type', () => open({ source: 7 }), /source/],
    ['a qos of the wrong type', () => open({ qos: { ...QOS, timeout: 'soon' } }), /qos\.timeout/],
    ['a source that is no URI', () => open({ source: 'nonsense' }), /hybrid:/],
    [
      'an unknown method',
      () => open({ source: openData(alice, bob, 'hybridization=rot13&kem_mec=Kyber512').source }),
      /rot13/,
    ],
    [
      'an unknown KEM',
      () => open({ source: openData(alice, bob, 'hybridization=hmac&kem_mec=Kyber9').source }),
      /Kyber9/,
    ],
    [
      'foreign nodes',
      () =>
        open({
          source: 'hybrid://a@cccccccc-cccc-cccc-cccc-cccccccccccc',
          destination: 'hybrid://a@dddddddd-dddd-dddd-dddd-dddddddddddd',
        }),
      /names this node/,
    ],
    [
      'an untrusted peer',
      () => open({ destination: 'hybrid://a@dddddddd-dddd-dddd-dddd-dddddddddddd' }),
      /not among this node's trusted peers/,
    ],
    ['the same node twice', () => open({ destination: openData(alice, alice).destination }), /same node/],
  ];
  for (const [what, request, message] of cases) {
    it(`answers ${what} with an integer status and a message`, async () => {
      const [answer] = (await sendRaw(alice.json, [request()])) as [{ status: unknown; message: string }];
      assert.ok(Number.isInteger(answer.status) && answer.status !== 0, JSON.stringify(answer));
      assert.match(answer.message, message);
    });
  }

  it('takes a request byte by byte, in two segments, and two in one', async () => {
    const one = valid();
    const bytes = [...one].map((byte) => Buffer.from([byte]));
    assert.equal((await sendRaw(alice.json, bytes)).length, 1);
    assert.equal((await sendRaw(alice.json, [one.subarray(0, 9), one.subarray(9)])).length, 1);
    assert.equal((await sendRaw(alice.json, [Buffer.concat([one, valid()])], 2)).length, 2);
    assert.equal(
      (await sendRaw(alice.json, [Buffer.concat(Array.from({ length: 100 }, valid))], 100)).length,
      100,
    );
  });

  it('goes on with the connection after a bad request', async () => {
    const answers = await sendRaw(alice.json, [Buffer.concat([text({ command: 'X' }), valid()])], 2);
    assert.deepEqual(
      answers.map((answer) => (answer as { status: number }).status),
      [1, 3],
    );
  });
});

describe('clients that misbehave cost nobody else anything', () => {
  it('1,000 idle connections, and a silent one on every port', async () => {
    const ports = [alice, bob].flatMap((node) => [
      node.json,
      node.peer,
      ...Object.values(node.services).map((one) => one.address),
    ]);
    const sockets: Socket[] = [];
    const hold = (host: string, port: number) =>
      new Promise<void>((resolve, reject) => {
        const socket = connect(port, host, resolve);
        socket.once('error', reject);
        socket.on('error', () => undefined);
        sockets.push(socket);
      });
    await Promise.all(ports.map(({ host, port }) => hold(host, port)));
    await Promise.all(Array.from({ length: 1000 }, () => hold(alice.json.host, alice.json.port)));
    const pair = await openPair(network, openData(alice, bob));
    const started = performance.now();
    for (let i = 0; i < 50; i++) {
      const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
      assert.deepEqual(keyOf(a), keyOf(b));
    }
    assert.ok(performance.now() - started < 2500, '50 keys took too long');
    await pair.close();
    for (const socket of sockets) socket.destroy();
  });
});
