import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { Etsi004Client } from '../helpers/etsi004-client.ts';
import { eventually, nodeUuid, openData, twoNodes } from '../helpers/network.ts';
import { RestClient } from '../helpers/rest-client.ts';
import { samplesIn } from '../helpers/telemetry.ts';

const [ALICE, BOB] = [nodeUuid(0), nodeUuid(1)];

const [port] = await freePorts('127.0.0.1', 1);
const lines: string[] = [];
const { network, alice, bob } = await twoNodes({
  config: (name) => ({
    ...(name === 'Alice' && { health: { port }, telemetry: {} }),
    logging_config: { console_log_type: 'info' },
    listeners: {
      json: { tls: 'mutual' },
      rest: {
        port: 0,
        saes: {
          'sae-a': { node: ALICE, quota: { keys_per_second: 1 } },
          ...{ 'sae-b': { node: BOB }, 'sae-c': { node: ALICE }, 'sae-d': { node: ALICE } },
        },
      },
      skip: {
        port: 0,
        systems: { 'router-a': { node: ALICE, quota: { keys_per_second: 1 } }, 'router-b': { node: BOB } },
      },
    },
    access: {
      clients: [
        { identity: 'spiffe://apps/one', applications: ['*'], quota: { streams: 1, keys_per_second: 1 } },
      ],
    },
  }),
  onLog: (_node, line) => void lines.push(line),
});

async function pemOf(subject: string, uri?: string) {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const names = uri === undefined ? [] : [{ type: 'url' as const, value: uri }];
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${subject}`, names });
  return { ca: Buffer.from(ca.certificate), cert: Buffer.from(certificate), key: Buffer.from(key) };
}

/** Refusals of Alice so far. */
async function counted(call: string, reason: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  let all = 0;
  for (const [name, value] of samplesIn(text))
    if (
      name.startsWith('keyweave_requests_refused_total') &&
      name.includes(`call="${call}"`) &&
      name.includes(`reason="${reason}"`)
    )
      all += value;
  return all;
}

/** What `act` is refused is counted, once at least, and logged. */
async function assertTold(call: string, reason: string, detail: RegExp, act: () => Promise<void>) {
  const before = await counted(call, reason);
  const said = lines.length;
  await act();
  await eventually(`${call} ${reason} is counted`, 15_000, async () =>
    (await counted(call, reason)) > before ? true : undefined,
  );
  await eventually(`${detail} is logged`, 10_000, async () =>
    lines.slice(said).find((line) => /a request was refused/.test(line) && detail.test(line)),
  );
}

describe('what quotas and lists refuse is counted and logged', () => {
  it('of streams: who may not open them, and too many', async () => {
    const stranger = await Etsi004Client.connect(alice.json, await pemOf('x', 'spiffe://apps/other'));
    await assertTold('open', 'NOT_ALLOWED', /access\.clients has no entry/, async () => {
      assert.equal((await stranger.open(openData(alice, bob))).status, 4);
    });
    stranger.disconnect();
    const one = await Etsi004Client.connect(alice.json, await pemOf('one', 'spiffe://apps/one'));
    const theirs = await Etsi004Client.connect(bob.json, await pemOf('one', 'spiffe://apps/one'));
    const data = {
      ...openData(alice, bob, undefined, { timeout: 1_000 }),
      key_stream_id: crypto.randomUUID(),
    };
    const opened = await Promise.all([one.open(data), theirs.open(data)]);
    assert.deepEqual(
      opened.map(({ status }) => status),
      [0, 0],
    );
    await assertTold('open', 'LIMIT_EXCEEDED', /stream/, async () => {
      assert.notEqual((await one.open(openData(alice, bob))).status, 0);
    });
    one.disconnect();
    theirs.disconnect();
  });

  it('of SAEs: too many keys, and those of others', async () => {
    const [a, c, d] = await Promise.all(
      ['sae-a', 'sae-c', 'sae-d'].map(async (id) => new RestClient(alice.rest as Address, await pemOf(id))),
    );
    const b = new RestClient(bob.rest as Address, await pemOf('sae-b'));
    assert.equal((await a?.get('sae-b/enc_keys?number=60'))?.code, 200);
    await assertTold('getKey', 'INSUFFICIENT_KEY', /this SAE is given 1 keys a second/, async () => {
      assert.equal((await a?.get('sae-b/enc_keys'))?.code, 503);
    });
    const given = await b.get('sae-c/enc_keys');
    assert.equal(given.code, 200);
    const id = given.keys[0]?.id as string;
    await assertTold('getKey', 'NOT_ALLOWED', /not among those/, async () => {
      assert.equal((await d?.get(`sae-b/dec_keys?key_ID=${id}`))?.code, 401);
    });
    for (const client of [a, b, c, d]) client?.disconnect();
  });

  it('of systems of SKIP: too many keys', async () => {
    const router = new RestClient(alice.skip as Address, await pemOf('router-a'));
    await assertTold('getKey', 'INSUFFICIENT_KEY', /this system is given 1 keys a second/, async () => {
      const codes: number[] = [];
      for (let i = 0; i < 3; i++) codes.push((await router.get('/key?remoteSystemID=router-b')).code);
      assert.equal(codes[0], 200);
      assert.ok(
        codes.slice(1).some((code) => code !== 200),
        String(codes),
      );
    });
    router.disconnect();
  });
});
