import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ConnectionOptions } from 'node:tls';
import type { Address } from '#common/config/fields.ts';
import { headed, writeClose, writeOpenConnect } from '#common/etsi/etsi004-binary-codec.ts';
import { BinaryClient, type BinaryOpened, REFERENCE_QOS } from '../helpers/binary-client.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import {
  keyOf,
  type LocalNetwork,
  type LocalNode,
  openData,
  startLocalNetwork,
  twoNodes,
} from '../helpers/network.ts';

/** Plain on loopback, where each end gives keys though the other's application is not there, as the reference's servers do. */
const { alice, bob } = await twoNodes({
  config: () => ({ listeners: { binary: { tls: 'off', port: 0, peer_presence: 'node' } } }),
});

const clients: BinaryClient[] = [];
after(() => {
  for (const client of clients) client.disconnect();
});

async function connect(node: LocalNode, tls?: ConnectionOptions): Promise<BinaryClient> {
  const client = await BinaryClient.connect(node.binary as Address, tls);
  clients.push(client);
  return client;
}

/** The URIs of the reference's clients: who calls, and whom it has dialled. */
const AT_ALICE = { source: 'client://localhost', destination: 'server://qkd_server_alice' };
const AT_BOB = { source: 'client://localhost', destination: 'server://qkd_server_bob' };
/** For a machine that has a lot to do. */
const PATIENT = { ...REFERENCE_QOS, timeoutMs: 30_000 };
const NIL = '00000000-0000-0000-0000-000000000000';

const ksidOf = ({ status, ksid }: BinaryOpened) => {
  assert.ok(ksid !== undefined, `status ${status}`);
  return ksid;
};

describe('the binary API, as the clients of ETSI’s reference implementation use it', () => {
  it('answers OPEN_CONNECT at once, and gives both ends the same keys', async () => {
    for (const [first, second, at] of [
      [alice, bob, [AT_ALICE, AT_BOB]],
      [bob, alice, [AT_BOB, AT_ALICE]],
    ] as const) {
      const [a, b] = await Promise.all([connect(first), connect(second)]);
      const opened = await a.open(at[0]);
      assert.deepEqual([opened.status, opened.qos], [0, REFERENCE_QOS]);
      const ksid = ksidOf(opened);
      // Given already, though only one application is connected.
      const early = await a.getKey(ksid, 0);
      assert.deepEqual([early.status, early.index, early.key?.length], [0, 0, 512]);
      assert.match(early.metadata ?? '', /^\{"age":\d+,"hops":0,/);
      const joined = await b.open({ ...at[1], ksid });
      assert.deepEqual(joined, { status: 0, qos: REFERENCE_QOS, ksid });
      assert.deepEqual((await b.getKey(ksid, 0)).key, early.key);
      for (const index of [1, 2, 3, 7]) {
        const [one, other] = await Promise.all([a.getKey(ksid, index), b.getKey(ksid, index)]);
        assert.deepEqual([one.status, one.index, other.index], [0, index, index]);
        assert.deepEqual(one.key, other.key);
      }
      assert.deepEqual([await a.close(ksid), await b.close(ksid)], [0, 0]);
      assert.equal(await a.close(ksid), 3);
    }
  });

  it('takes predefined KSIDs, whichever end comes first, and both at once', async () => {
    for (let i = 0; i < 6; i++) {
      const ksid = randomUUID();
      const [a, b] = await Promise.all([connect(alice), connect(bob)]);
      const openings =
        i < 2
          ? await Promise.all([a.open({ ...AT_ALICE, ksid }), b.open({ ...AT_BOB, ksid })])
          : i % 2 === 0
            ? [await a.open({ ...AT_ALICE, ksid }), await b.open({ ...AT_BOB, ksid })]
            : [await b.open({ ...AT_BOB, ksid }), await a.open({ ...AT_ALICE, ksid })];
      assert.deepEqual(
        openings.map(({ status, ksid: given }) => [status, given]),
        [
          [0, ksid],
          [0, ksid],
        ],
      );
      const keys = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
      assert.deepEqual(keys[0].key, keys[1].key);
      assert.equal(keys[0].key?.length, 512);
    }
  });

  it('gives 7 with a stream that is open on the adjusted QoS', async () => {
    const a = await connect(alice);
    const opened = await a.open({ ...AT_ALICE, qos: { ...REFERENCE_QOS, maxBps: 1_000_000 } });
    assert.deepEqual([opened.status, opened.qos], [7, { ...REFERENCE_QOS, maxBps: 500_000 }]);
    const ksid = ksidOf(opened);
    assert.equal((await a.getKey(ksid, 0)).status, 0);
    assert.equal(await a.close(ksid), 0);
    const typed = await a.open({ ...AT_ALICE, qos: { ...REFERENCE_QOS, metadataMimetype: 'text/plain' } });
    assert.deepEqual([typed.status, typed.qos?.metadataMimetype], [7, 'application/json']);
  });

  it('gives the statuses that they expect', async () => {
    const a = await connect(alice);
    const ksid = ksidOf(await a.open(AT_ALICE));
    assert.equal((await a.open({ ...AT_ALICE, ksid })).status, 5, 'a second OPEN_CONNECT of a live KSID');
    assert.equal((await a.open({ ...AT_ALICE, source: 'client' })).status, 4, 'no URI');
    assert.equal((await a.open({ ...AT_ALICE, qos: { ...REFERENCE_QOS, timeoutMs: 0 } })).status, 6);
    assert.equal((await a.getKey(ksid, 1_000_000)).status, 2, 'far beyond the window');
    assert.equal((await a.getKey(NIL)).status, 3);
    assert.equal(await a.close(NIL), 3);
    assert.equal((await a.getKey(randomUUID())).status, 3);
    const small = await a.getKey(ksid, 0, 4);
    assert.equal(small.status, 8);
    const needed = small.neededBytes as number;
    // The key was not taken: it is there for who has room, or wants no metadata.
    assert.equal((await a.getKey(ksid, 0, needed - 1)).status, 8);
    const fitting = await a.getKey(ksid, 0, needed + 1);
    assert.deepEqual([fitting.status, fitting.index], [0, 0]);
    assert.equal((await a.getKey(ksid, 0)).status, 2, 'taken');
    const bare = await a.getKey(ksid, 1, 0);
    assert.deepEqual([bare.status, bare.metadata], [0, '']);
    assert.equal((await a.getKey(ksid)).index, 2, 'the next one');
  });

  it('shares streams with the JSON API, by URIs of this node’s own form', async () => {
    const a = await connect(alice);
    const json = await Etsi004Client.connect(bob.json);
    const data = openData(alice, bob, 'hybridization=caskdf&key_sources=ML-KEM-1024,QKD');
    const opened = await a.open({ source: data.source, destination: data.destination });
    assert.equal(opened.status, 0);
    const joined = await json.open({ ...data, key_stream_id: ksidOf(opened) });
    assert.ok([0, 7].includes(joined.status), joined.message);
    const [one, other] = await Promise.all([a.getKey(ksidOf(opened)), json.getKey(ksidOf(opened))]);
    assert.deepEqual(one.key, keyOf(other, 512));
    json.disconnect();
    const unknown = await a.open({
      source: data.source.replace('caskdf', 'nokdf'),
      destination: data.destination,
    });
    assert.equal(unknown.status, 4, '7 would mean a stream');
  });
});

describe('a client of the binary API that does not keep to it', () => {
  it('is answered nothing to messages of unknown types, and goes on', async () => {
    const a = await connect(alice);
    for (const type of [0x06, 0x07, -1, 0x03]) a.send(headed(type, Buffer.alloc(8 + 300, 7)));
    assert.equal(await a.close(NIL), 3);
  });

  it('is told that a message cannot be read, and goes on', async () => {
    const a = await connect(alice);
    for (const [type, bytes] of [
      [0x02, 10],
      [0x04, 23],
      [0x04, 25],
      [0x08, 0],
    ] as const) {
      a.send(headed(type, Buffer.alloc(8 + bytes)));
      const answer = await a.message();
      assert.deepEqual(
        [answer?.readInt8(3), answer?.readUInt32BE(4), answer?.readUInt32BE(8)],
        [type + 1, 4, 1],
      );
    }
    const open = writeOpenConnect({ ...AT_ALICE, qos: REFERENCE_QOS, ksid: undefined });
    open[10] = 0xff;
    a.send(open);
    assert.equal((await a.message())?.readUInt32BE(8), 1);
    assert.equal(await a.close(NIL), 3);
  });

  it('is refused what is too large by its header alone, and the connection ends', async () => {
    const a = await connect(alice);
    const header = headed(0x02, Buffer.alloc(8));
    header.writeUInt32BE(0xffff_ffff, 4);
    a.send(header);
    assert.equal((await a.message())?.readUInt32BE(8), 1);
    assert.equal(await a.message(), undefined);
  });

  it('is let go without an answer where its message ends too early', async () => {
    const a = await connect(alice);
    a.socket.end(writeClose(NIL).subarray(0, 20));
    assert.equal(await a.message(), undefined);
  });

  it('that leaves its streams costs nobody anything', async () => {
    for (let i = 0; i < 20; i++) {
      const a = await connect(alice);
      assert.equal((await a.open(AT_ALICE)).status, 0);
      a.disconnect();
    }
    const a = await connect(alice);
    assert.equal((await a.getKey(ksidOf(await a.open(AT_ALICE)), 0)).status, 0);
  });
});

describe('the binary listener over TLS', () => {
  const cas: { trusted?: string; own?: ConnectionOptions; other?: ConnectionOptions } = {};
  let nodes: readonly [LocalNode, LocalNode];
  let network: LocalNetwork;
  after(() => network.stop());

  before(async () => {
    network = await startLocalNetwork({
      names: ['Alice', 'Bob'],
      config: () => ({ listeners: { binary: { port: 0, default_method: 'catkdf' } } }),
    });
    nodes = network.nodes as unknown as readonly [LocalNode, LocalNode];
    const { folder } = network;
    const read = (name: string) => readFileSync(join(folder, 'ca', name), 'utf8');
    const ca = { certificate: read('ca.crt'), key: read('ca.key') };
    const tlsOf = async (app: string) => {
      const { certificate, key } = await clientCertificate(ca, {
        subject: `CN=${app}`,
        names: [{ type: 'url', value: `spiffe://apps/${app}` }],
      });
      return { ca: ca.certificate, cert: certificate, key };
    };
    Object.assign(cas, { trusted: ca.certificate, own: await tlsOf('own'), other: await tlsOf('other') });
  });

  it('wants TLS 1.3 and a certificate', async () => {
    for (const tls of [{ ca: cas.trusted as string }, { ...cas.own, maxVersion: 'TLSv1.2' as const }]) {
      const outcome = await connect(nodes[0], tls)
        .then((client) => client.close(NIL))
        .catch(() => 'refused');
      assert.equal(outcome, 'refused');
    }
    const plain = await connect(nodes[0]);
    plain.send(writeClose(NIL));
    assert.equal(await plain.message(), undefined);
  });

  it('gives no key before the other application has come, where the listener says so', async () => {
    const [a, b] = await Promise.all([connect(nodes[0], cas.own), connect(nodes[1], cas.other)]);
    const ksid = ksidOf(await a.open({ ...AT_ALICE, qos: PATIENT }));
    assert.equal((await a.getKey(ksid)).status, 3);
    assert.equal((await b.open({ ...AT_BOB, ksid, qos: PATIENT })).status, 0);
    const [one, other] = await Promise.all([a.getKey(ksid), b.getKey(ksid)]);
    assert.deepEqual([one.status, one.key], [0, other.key]);
    assert.match(one.metadata ?? '', /"method":"catkdf"/);
    assert.deepEqual([await a.close(ksid), await b.close(ksid)], [0, 0]);
  });

  it('keeps a stream for the identity that opened it: to others it is one that nobody knows', async () => {
    const [a, again, other] = await Promise.all([
      connect(nodes[0], cas.own),
      connect(nodes[0], cas.own),
      connect(nodes[0], cas.other),
    ]);
    const ksid = ksidOf(await a.open({ ...AT_ALICE, qos: PATIENT }));
    assert.equal((await other.getKey(ksid)).status, 3);
    assert.equal(await other.close(ksid), 3);
    // The same as for what was never there; to the owner, on whatever connection, it is there.
    assert.equal((await other.getKey(randomUUID())).status, 3);
    assert.equal(await again.close(ksid), 0);
  });
});
