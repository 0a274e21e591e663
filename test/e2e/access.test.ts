import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import type { Door, DoorClient, Wish } from '../contract/front-end-contract.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { binaryDoor, type ClientPem, grpcDoor, jsonDoor } from '../helpers/doors.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, networkFor, nodeUuid, openData, twoNodes } from '../helpers/network.ts';
import { RestClient } from '../helpers/rest-client.ts';

const [ALICE, BOB, CAROL] = [nodeUuid(0), nodeUuid(1), nodeUuid(2)];

const NOT_ALLOWED = 4;
const UNKNOWN_STREAM = 3;
/** Of ETSI GS QKD 004, for a limit. */
const LIMIT = 1;

/** Who may do what at both nodes; everybody may at the other one, so that each test is about one end. */
function clients(name: string) {
  const entry = (client: string, change: object = {}) => ({
    identity: `spiffe://apps/${client}`,
    applications: ['*'],
    ...(name === 'Alice' && change),
  });
  return [
    entry('free'),
    entry('billing', { applications: ['billing', 'hybrid://invoices@*'], peers: [BOB] }),
    entry('two-streams', { quota: { streams: 2 } }),
    entry('slow', { quota: { keys_per_second: 1, waiting_requests: 1 } }),
    { identity: 'spiffe://apps/family/*', applications: ['*'], quota: { streams: 1 } },
  ];
}

const lines: string[] = [];
const { network, alice, bob } = await twoNodes({
  config: (name) => ({
    logging_config: { console_log_type: 'info' },
    listeners: {
      json: { tls: 'mutual' },
      binary: { port: 0, max_bps: 0 },
      grpc: { port: 0 },
      rest: {
        port: 0,
        saes: {
          'sae-a': { node: ALICE, quota: { keys_per_second: 1 } },
          'sae-b': { node: BOB },
          'sae-c': { node: ALICE },
        },
      },
    },
    access: { clients: clients(name) },
  }),
  // Trusted, and not there.
  peers: (name) => (name === 'Alice' ? { [CAROL]: { address: { host: '127.0.0.1', port: 9 } } } : {}),
  onLog: (_node, line) => void lines.push(line),
});

async function certified(subject: string, uri?: string): Promise<ClientPem> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const names = uri === undefined ? [] : [{ type: 'url' as const, value: uri }];
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${subject}`, names });
  return { ca: ca.certificate, cert: certificate, key };
}

const app = (name: string) => certified(name, `spiffe://apps/${name}`);
const free = await app('free');
const pems: Record<string, ClientPem> = {
  ...{ free, billing: await app('billing'), 'two-streams': await app('two-streams') },
  ...{ slow: await app('slow'), unlisted: await app('unlisted') },
  ...{ one: await app('family/one'), two: await app('family/two') },
};

type MakeDoor = (options: Parameters<typeof jsonDoor>[0]) => Door;

/** One client of the front end at Alice and one at Bob, who is free to do anything. */
async function ends(make: MakeDoor, who: string): Promise<{ a: DoorClient; b: DoorClient; end: () => void }> {
  const own = pems[who] as ClientPem;
  const door = make({ initiator: alice, responder: bob, own, other: free, stranger: free });
  const [a, b] = await Promise.all([door.connect('initiator'), door.connect('responder', 'other')]);
  return {
    ...{ a, b },
    end: () => {
      a.disconnect();
      b.disconnect();
    },
  };
}

function wish(name: string, node = BOB): Wish {
  const query = 'hybridization=hkdf-sha384&key_sources=ML-KEM-768,QKD';
  return {
    ksid: randomUUID(),
    source: `hybrid://${name}@${ALICE}?${query}`,
    destination: `hybrid://theirs@${node}?${query}`,
  };
}

/** Both ends open it. */
async function opened(
  { a, b }: { a: DoorClient; b: DoorClient },
  names = wish(randomUUID()),
): Promise<string> {
  const answers = await Promise.all([a.open(names), b.open(names)]);
  for (const { status } of answers) assert.ok([0, 7].includes(status), `status ${status}`);
  return names.ksid;
}

for (const [name, make] of [
  ['etsi004-json', jsonDoor],
  ['etsi004-binary', binaryDoor],
  ['grpc', grpcDoor],
] as [string, MakeDoor][]) {
  describe(`access by ${name}`, () => {
    it('is for the applications and peers of the entry, and for nobody without one', async () => {
      const billing = await ends(make, 'billing');
      for (const allowed of ['billing', 'invoices']) {
        const ksid = await opened(billing, wish(allowed));
        assert.equal((await billing.a.getKey(ksid)).status, 0);
        await billing.a.close(ksid);
        await billing.b.close(ksid);
      }
      assert.equal((await billing.a.open(wish('payroll'))).status, NOT_ALLOWED);
      assert.equal((await billing.a.open(wish('billing', CAROL))).status, NOT_ALLOWED);
      const unlisted = await ends(make, 'unlisted');
      assert.equal((await unlisted.a.open(wish('billing'))).status, NOT_ALLOWED);
      billing.end();
      unlisted.end();
      for (const words of [
        /access\.clients\.1\.applications does not name \\?"hybrid:\/\/payroll@/,
        new RegExp(`access\\.clients\\.1\\.peers does not name node ${CAROL}`),
        /access\.clients has no entry for \\?"spiffe:\/\/apps\/unlisted/,
      ])
        await eventually(String(words), 10_000, async () => lines.find((line) => words.test(line)));
    });

    it('answers a KSID of another one like one that nobody has, to a client that may open and to one that may not', async () => {
      const owner = await ends(make, 'free');
      const ksid = await opened(owner);
      for (const who of ['slow', 'unlisted']) {
        const other = await ends(make, who);
        for (const id of [ksid, randomUUID()]) {
          assert.deepEqual(await other.a.getKey(id), { status: UNKNOWN_STREAM });
          assert.deepEqual(await other.a.close(id), { status: UNKNOWN_STREAM });
        }
        other.end();
      }
      assert.equal((await owner.a.getKey(ksid)).status, 0);
      await owner.a.close(ksid);
      owner.end();
    });

    it('gives no more streams than the quota, and again when one is over; others have theirs', async () => {
      const two = await ends(make, 'two-streams');
      const streams = [await opened(two), await opened(two)];
      assert.equal((await two.a.open(wish('third'))).status, LIMIT);
      const others = await ends(make, 'free');
      const theirs = await opened(others);
      await two.a.close(streams.pop() as string);
      streams.push(await opened(two));
      assert.equal((await two.a.open(wish('third'))).status, LIMIT);
      for (const ksid of streams) await two.a.close(ksid);
      await others.a.close(theirs);
      two.end();
      others.end();
    });

    it('counts the streams of each member of a family for itself', async () => {
      const [one, other] = [await ends(make, 'one'), await ends(make, 'two')];
      const streams = [await opened(one), await opened(other)];
      for (const { a } of [one, other]) assert.equal((await a.open(wish('second'))).status, LIMIT);
      await one.a.close(streams[0] as string);
      await other.a.close(streams[1] as string);
      one.end();
      other.end();
    });

    it('gives keys at the rate of the quota, lets as many wait as it says, and loses none', async () => {
      const first = await ends(make, 'slow');
      const ksid = await opened(first);
      const more = await Promise.all(Array.from({ length: 5 }, () => ends(make, 'slow')));
      const answers = await Promise.all(more.map(({ a }) => a.getKey(ksid)));
      const statuses = answers.map(({ status }) => status).sort();
      assert.ok(statuses.includes(0) && statuses.includes(LIMIT), String(statuses));
      assert.ok(
        statuses.every((status) => status === 0 || status === LIMIT),
        String(statuses),
      );
      const indexes = answers.flatMap(({ index = [] }) => index).sort();
      const next = await first.a.getKey(ksid);
      assert.deepEqual(
        [...indexes, next.index],
        Array.from({ length: indexes.length + 1 }, (_, i) => i),
      );
      const key = await first.b.getKey(ksid, next.index);
      assert.deepEqual([next.status, key.key], [0, next.key]);
      await first.a.close(ksid);
      for (const each of [first, ...more]) each.end();
    });
  });
}

describe('quotas of SAEs', () => {
  it('hold one to its rate, in words, and no other', async () => {
    const [one, other] = await Promise.all(
      ['sae-a', 'sae-c'].map(
        async (id) => new RestClient(alice.rest as Address, { ...(await certified(id)) }),
      ),
    );
    const all = await one?.get('sae-b/enc_keys?number=60');
    assert.deepEqual([all?.code, all?.keys.length], [200, 60], JSON.stringify(all?.body));
    const refused = await one?.get('sae-b/enc_keys');
    assert.equal(refused?.code, 503);
    assert.match(String(refused?.body.message), /1 keys a second; ask for 1 again in \d+ ms/);
    for (let i = 0; i < 3; i++) assert.equal((await other?.get('sae-b/enc_keys'))?.code, 200);
    one?.disconnect();
    other?.disconnect();
  });
});

describe('an empty list', () => {
  it('denies everybody, also on a port that asks for no certificates', async (t) => {
    const closed = await networkFor(t, { names: ['Alice'], config: () => ({ access: { clients: [] } }) });
    const node = closed.nodes[0] as (typeof closed.nodes)[number];
    const client = await Etsi004Client.connect(node.json);
    const answer = await client.open(openData(node, { uuid: BOB }));
    assert.equal(answer.status, NOT_ALLOWED);
    assert.equal(answer.message, 'this client is not allowed to open this stream');
    client.disconnect();
  });
});
