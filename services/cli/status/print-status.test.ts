import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Look, nodeStatus } from '#common/status/node-status.ts';
import { readSamples, Scrape } from '#common/status/samples.ts';
import { statusText } from './print-status.ts';

const PEER = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';

/** A node that has delivered so many keys. */
function looked(delivered: number, atMs: number, problems: string[] = []): Look {
  const text = `target_info{service_name="gateway",service_version="0.2.0",keyweave_node="aaaa"} 1
keyweave_keys_delivered_total{peer="${PEER}",method="xoring",degraded="false"} ${delivered}
keyweave_streams_open{peer="${PEER}",role="initiator"} 4
keyweave_peer_up{peer="${PEER}"} 1
keyweave_peer_rtt_seconds_count{peer="${PEER}"} 4
keyweave_peer_rtt_seconds_sum{peer="${PEER}"} 0.008
keyweave_certificate_not_after_seconds{kind="own",file="gateway.crt",service_name="gateway"} 90000
`;
  return { scrape: new Scrape(readSamples(text)), atMs, wallMs: 1_060_000, problems };
}

describe('the text of a status', () => {
  it('is a page for people, which begins with what is wrong', () => {
    const text = statusText(
      nodeStatus(looked(1024, 0), looked(1536, 2000, ['gateway: being started again'])),
    );
    assert.match(text, /^node aaaa, version 0\.2\.0: NOT READY\n! gateway: being started again\n/);
    assert.match(text, new RegExp(`^${PEER}  up +2\\.00 ms +4 +0 +256\\.0 `, 'm'));
    assert.match(text, /^gateway\.crt +gateway +own +1970-01-02T01:00:00 +24 h$/m);
  });
});
