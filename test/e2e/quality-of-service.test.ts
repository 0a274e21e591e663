import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askEnd } from '../helpers/asking.ts';
import { breaches, type HistoryEntry } from '../helpers/delivery-history.ts';
import { keyOf, openData, openPair, type Pair, twoNodes } from '../helpers/network.ts';

const { network, alice, bob } = await twoNodes();

const open = (qos: Parameters<typeof openData>[3] = {}): Promise<Pair> =>
  openPair(network, openData(alice, bob, undefined, qos));

describe('two ends of a stream (ETSI GS QKD 004 V2.1.1 clause 6.1, GET_KEY)', () => {
  it('may be read at very different speeds: what one has long read is there for the other', async () => {
    const pair = await open();
    const history: HistoryEntry[] = [];
    for (let i = 0; i < 300; i++) {
      await askEnd(history, pair, 0);
      if (i % 15 === 0) await askEnd(history, pair, 1);
    }
    for (let i = 20; i < 300; i++) await askEnd(history, pair, 1);
    assert.deepEqual(
      history.filter(({ status }) => status !== 0),
      [],
    );
    assert.deepEqual(breaches(history, 32), []);
    const indexes = [0, 1].map((end) =>
      history.filter((entry) => entry.end === end).map(({ index }) => index),
    );
    assert.deepEqual(indexes[0], indexes[1]);
    await pair.close();
  });

  it('get the same key at the same index, whenever each asks for it', async () => {
    const pair = await open();
    const atA = new Map<number, Buffer>();
    for (const index of [7, 2, 9, 1]) atA.set(index, keyOf(await pair.a.getKey(pair.ksid, index)));
    for (let i = 0; i < 4; i++) keyOf(await pair.a.getKey(pair.ksid));
    for (const index of [1, 9, 2, 7]) {
      assert.deepEqual(keyOf(await pair.b.getKey(pair.ksid, index)), atA.get(index), `index ${index}`);
    }
    assert.equal((await pair.a.getKey(pair.ksid, 7)).status, 2, 'an index was given twice');
    await pair.close();
  });
});

describe('QoS (ETSI GS QKD 004 V2.1.1 Table 2)', () => {
  it('Max_bps 256: one 256-bit key a second at each end', async () => {
    const pair = await open({ max_bps: 256, min_bps: 0 });
    const started = performance.now();
    for (let i = 0; i < 4; i++) {
      const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
      assert.deepEqual(keyOf(a), keyOf(b));
    }
    const elapsed = performance.now() - started;
    assert.ok(elapsed > 2_900 && elapsed < 6_000, `4 keys in ${elapsed} ms`);
    await pair.close();
  });

  it('Max_bps with a Timeout that is shorter: status 2, in words, and the key later', async () => {
    const pair = await open({ max_bps: 256, min_bps: 0, timeout: 300 });
    keyOf(await pair.a.getKey(pair.ksid));
    const refused = await pair.a.getKey(pair.ksid);
    assert.equal(refused.status, 2);
    assert.match(refused.message ?? '', /max_bps 256/);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    keyOf(await pair.a.getKey(pair.ksid));
    await pair.close();
  });

  it('what cannot be met comes back adjusted with status 7, at both ends alike, and the stream is open', async () => {
    const pair = await open({ max_bps: 0, min_bps: 100_000_000, metadata_mimetype: 'text/xml' });
    for (const { status, qos, message } of pair.opened) {
      assert.equal(status, 7);
      assert.equal(qos?.min_bps, 51_200);
      assert.equal(qos?.metadata_mimetype, 'application/json');
      assert.match(message ?? '', /min_bps.*metadata_mimetype/);
    }
    assert.deepEqual(keyOf(await pair.a.getKey(pair.ksid)), keyOf(await pair.b.getKey(pair.ksid)));
    await pair.close();
  });

  it('TTL: 0 is a day, and what is longer than 24.8 days is cut, with status 7', async () => {
    for (const [ttl, status, given] of [
      [0, 0, 86_400],
      [60, 0, 60],
      [0xffffffff, 7, 2_147_483],
    ] as const) {
      const pair = await open({ ttl });
      for (const opened of pair.opened) {
        assert.deepEqual([opened.status, opened.qos?.ttl], [status, given]);
        if (status === 7) assert.match(opened.message, /^ttl 4294967295 cannot be given, 2147483 can/);
      }
      await pair.close();
    }
  });

  it('an empty Metadata_mimetype means no metadata', async () => {
    const pair = await open({ metadata_mimetype: '' });
    assert.equal(pair.opened[0].status, 0);
    assert.equal((await pair.a.getKey(pair.ksid)).metadata, undefined);
    await pair.close();
  });
});

describe('scarce QKD keys', () => {
  it('are not hoarded: a stream that is hardly used wastes at most two', async () => {
    const made = network.kme.state().keysMade;
    const pair = await open();
    for (let i = 0; i < 3; i++) {
      const [a, b] = await Promise.all([pair.a.getKey(pair.ksid), pair.b.getKey(pair.ksid)]);
      assert.deepEqual(keyOf(a), keyOf(b));
      // Longer than any rate that is remembered, as of a stream that asks once a minute.
      if (i < 2) await new Promise((resolve) => setTimeout(resolve, 11_000));
    }
    await pair.close();
    const wasted = network.kme.state().keysMade - made - 3;
    assert.ok(wasted <= 2, `${wasted} QKD keys were wasted`);
  });
});
