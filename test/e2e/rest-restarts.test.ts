import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Address } from '#common/config/fields.ts';
import { freePorts } from '../../services/cli/free-ports.ts';
import { clientCertificate } from '../helpers/client-certificate.ts';
import { eventually, type LocalNode, nodeUuid, twoNodes } from '../helpers/network.ts';
import { servicePid } from '../helpers/proc.ts';
import { RestClient } from '../helpers/rest-client.ts';

const SAES = { 'sae-a': { node: nodeUuid(0) }, 'sae-b': { node: nodeUuid(1) } };
const [atAlice = 0, atBob = 0] = await freePorts('127.0.0.1', 2);

/** For a machine that has a lot to do. */
const AGAIN_MS = 60_000;

const { network, alice, bob } = await twoNodes({
  config: (name) => ({ listeners: { rest: { port: name === 'Alice' ? atAlice : atBob, saes: SAES } } }),
});

async function sae(name: string, node: LocalNode): Promise<RestClient> {
  const read = (file: string) => readFileSync(join(network.folder, 'ca', file), 'utf8');
  const ca = { certificate: read('ca.crt'), key: read('ca.key') };
  const { certificate, key } = await clientCertificate(ca, { subject: `CN=${name}` });
  const client = new RestClient(node.rest as Address, { ca: ca.certificate, cert: certificate, key });
  after(() => client.disconnect());
  return client;
}

const [a, b] = await Promise.all([sae('sae-a', alice), sae('sae-b', bob)]);
const seen = new Set<string>();

/** One key at both SAEs. */
async function keyAtBoth(): Promise<true | undefined> {
  const one = await a.get('sae-b/enc_keys');
  if (one.code !== 200) return undefined;
  for (const { id } of one.keys) {
    assert.ok(!seen.has(id), 'a key_ID came twice');
    seen.add(id);
  }
  const other = await b.get(`sae-a/dec_keys?key_ID=${one.keys[0]?.id}`);
  if (other.code !== 200) return undefined;
  assert.deepEqual(other.keys, one.keys);
  return true;
}

function killGateway({ process: node }: LocalNode): void {
  process.kill(servicePid(node.pid, 'gateway'), 'SIGKILL');
}

describe('the REST API', () => {
  it("gives keys again after a restart of the slave's gateway, by other key_IDs", async () => {
    await eventually('keys before', AGAIN_MS, keyAtBoth);
    killGateway(bob);
    await eventually('keys after', AGAIN_MS, keyAtBoth);
  });

  it("gives keys again after a restart of the master's gateway, and the slave those that the master had got", async () => {
    await eventually('keys before', AGAIN_MS, keyAtBoth);
    const { keys } = await a.get('sae-b/enc_keys?number=3');
    killGateway(alice);
    await eventually('keys after', AGAIN_MS, keyAtBoth);
    const ids = { key_IDs: keys.map(({ id }) => ({ key_ID: id })) };
    assert.deepEqual((await b.post('sae-a/dec_keys', ids)).keys, keys);
  });

  it('answers 503 in time while the other node is gone', async () => {
    const stopped = new Promise((resolve) => bob.process.once('exit', resolve));
    bob.process.kill('SIGTERM');
    await stopped;
    const refused = await eventually('a refusal', AGAIN_MS, async () => {
      const answer = await a.get('sae-b/enc_keys?number=100');
      return answer.code === 200 ? undefined : answer;
    });
    assert.deepEqual([refused.code, typeof refused.body.message], [503, 'string']);
  });
});
