import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadNodeFiles } from '#common/config/load.ts';
import { type NodeFiles, nodeUuid, writeNetworkFiles } from './network-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-files-'));
const kmes = [
  { host: '127.0.0.1', port: 1 },
  { host: '127.0.0.1', port: 2 },
];
let nodes: NodeFiles[];

before(async () => {
  nodes = await writeNetworkFiles(folder, ['Alice', 'Bob'], kmes);
});
after(() => rmSync(folder, { recursive: true }));

describe('the files of a network on this machine', () => {
  it('are what a node reads: every node knows all of them, and its own key manager', () => {
    const loaded = nodes.map(({ folder: home }) =>
      loadNodeFiles(join(home, 'config.json'), join(home, 'trusted_peers_info.json')),
    );
    assert.deepEqual(
      loaded.map(({ config }) => [config.uuid, config.qkd_address]),
      kmes.map((kme, i) => [nodeUuid(i), kme]),
    );
    for (const { peers } of loaded) {
      assert.deepEqual(Object.keys(peers), [nodeUuid(0), nodeUuid(1)]);
      for (const { config } of loaded)
        assert.deepEqual(peers[config.uuid]?.address, config.peer_local_address);
    }
    const hosts = loaded.map(({ config }) => config.peer_local_address.host);
    assert.equal(new Set(hosts).size, hosts.length, 'each node has an address of its own');
  });

  it('hold a CA whose key only its owner reads', () => {
    const certificate = new X509Certificate(readFileSync(join(folder, 'ca', 'ca.crt')));
    assert.ok(certificate.ca);
    assert.equal(statSync(join(folder, 'ca', 'ca.key')).mode & 0o777, 0o600);
  });

  it("name nodes as the reference's examples do", () => {
    assert.equal(nodeUuid(0), 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa');
    assert.equal(nodeUuid(2), 'cccccccc-cccc-cccc-cccc-cccccccccccc');
  });
});
