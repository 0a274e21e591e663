import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import type { Qos } from '#gen/keyweave/v1/common.ts';
import { parseStreamTerms } from '../streams/stream-terms.ts';
import { agreedQos, meetQos, type QosLimits, unmetQos } from './qos.ts';

const ASKED: Qos = {
  keyChunkSize: 32,
  maxBps: 32,
  minBps: 32,
  jitter: 0,
  priority: 0,
  timeoutMs: 0,
  ttlS: 0,
  metadataMimetype: 'application/json',
};

function terms(sources: string, method = 'xoring') {
  const uri = (uuid: string) =>
    `hybrid://app@${uuid}-${[4, 4, 4, 12].map((n) => uuid[0]?.repeat(n)).join('-')}?hybridization=${method}&key_sources=${sources}`;
  return parseStreamTerms(uri('aaaaaaaa'), uri('bbbbbbbb'), { method, keySources: [] });
}

const limits = (keyRateBps = 0) =>
  ({
    limits: { default_timeout: 10_000, max_timeout: 600_000 },
    qkd: { key_rate_bps: keyRateBps },
  }) as QosLimits;

function met(change: Partial<Qos>, sources = 'ML-KEM-768,QKD', keyRateBps = 0): [Qos, string | undefined] {
  const asked = { ...ASKED, ...change };
  const given = meetQos(asked, terms(sources), limits(keyRateBps));
  return [given, unmetQos(asked, given)];
}

describe('meetQos (ETSI GS QKD 004 V2.1.1 clause 6.1, Table 2)', () => {
  it("meets the reference's request files for every kind of source", () => {
    for (const sources of ['ML-KEM-768,QKD', 'HQC-256,QKD', 'Classic-McEliece-8192128,QKD']) {
      assert.equal(met({}, sources)[1], undefined);
    }
  });

  it('lowers Min_bps to what the slowest KEM, the key manager and Max_bps allow, and says so', () => {
    const [light, words] = met({ minBps: 1_000_000, maxBps: 0 });
    assert.equal(light.minBps, 200 * 256);
    assert.match(words ?? '', /min_bps 1000000 cannot be given, 51200 can/);
    assert.equal(met({ minBps: 1_000_000, maxBps: 0 }, 'ML-KEM-768,QKD', 10_240)[0].minBps, 40 * 256);
    assert.equal(met({ minBps: 1_000_000, maxBps: 0 }, 'QKD,QKD', 10_240)[0].minBps, 20 * 256);
    assert.equal(met({ minBps: 1_000_000, maxBps: 0 }, 'ML-KEM-768,HQC-128', 10_240)[0].minBps, 20 * 256);
    assert.equal(met({ minBps: 2048, maxBps: 1024 })[0].minBps, 1024);
    assert.equal(met({ minBps: 2048, maxBps: 0 }, 'Classic-McEliece-348864,QKD')[0].minBps, 255);
  });

  it('chooses 32 bytes where the application leaves the chunk size open, and lowers what is too large', () => {
    assert.equal(met({ keyChunkSize: 0 })[0].keyChunkSize, 32);
    assert.equal(met({ keyChunkSize: 1 })[0].keyChunkSize, 1);
    const [large, words] = met({ keyChunkSize: 48 });
    assert.equal(large.keyChunkSize, 32);
    assert.match(words ?? '', /^key_chunk_size 48 cannot be given, 32 can;/);
    const asked = { ...ASKED, keyChunkSize: 100_000 };
    const slots = terms('ML-KEM-768,QKD');
    const method = { ...slots.method, maxChunkBytes: () => 1_000_000 };
    assert.equal(meetQos(asked, { ...slots, method }, limits()).keyChunkSize, 65_536);
  });

  it('names the media type that it makes where another is asked for; none stays none', () => {
    const [xml, words] = met({ metadataMimetype: 'text/xml' });
    assert.equal(xml.metadataMimetype, 'application/json');
    assert.match(words ?? '', /metadata_mimetype "text\/xml"/);
    assert.equal(met({ metadataMimetype: 'Application/JSON; charset=utf-8' })[1], undefined);
    assert.deepEqual(
      [met({ metadataMimetype: '' })[0].metadataMimetype, met({ metadataMimetype: '' })[1]],
      ['', undefined],
    );
  });

  it('caps the timeout, and takes 0 for the default', () => {
    assert.equal(met({})[0].timeoutMs, 10_000);
    const [long, words] = met({ timeoutMs: 3_600_000 });
    assert.equal(long.timeoutMs, 600_000);
    assert.match(words ?? '', /timeout 3600000/);
  });

  it('says a day for a TTL of 0, and cuts what is longer than 24.8 days', () => {
    assert.equal(met({})[0].ttlS, 86_400);
    assert.equal(met({})[1], undefined);
    for (const ttlS of [1, 86_401, 2_147_483])
      assert.deepEqual([met({ ttlS })[0].ttlS, met({ ttlS })[1]], [ttlS, undefined]);
    for (const ttlS of [2_147_484, 0xffffffff]) {
      const [cut, words] = met({ ttlS });
      assert.equal(cut.ttlS, 2_147_483);
      assert.match(words ?? '', new RegExp(`^ttl ${ttlS} cannot be given, 2147483 can;`));
    }
  });

  it('says so where the stream has the TTL that the other end has asked for', () => {
    const asked = { ...ASKED, ttlS: 60 };
    assert.match(unmetQos(asked, { ...met({})[0], ttlS: 30 }) ?? '', /^ttl 60 cannot be given, 30 can;/);
    assert.equal(unmetQos({ ...asked, ttlS: 0 }, { ...met({})[0], ttlS: 30 }), undefined);
  });

  it('is met by its own answer', () => {
    for (const change of [
      { minBps: 1_000_000 },
      { keyChunkSize: 48 },
      { metadataMimetype: 'a/b' },
      { ttlS: 0 },
      { ttlS: 0xffffffff },
    ]) {
      const [once] = met(change);
      assert.deepEqual(meetQos(once, terms('ML-KEM-768,QKD'), limits()), once);
    }
  });
});

describe('agreedQos', () => {
  const asked: Qos = { ...ASKED, minBps: 700, timeoutMs: 8_000 };

  it('takes a single byte for a chunk, and no answer without one', () => {
    assert.equal(agreedQos(asked, { ...asked, keyChunkSize: 1 }).keyChunkSize, 1);
    for (const answered of [undefined, { ...asked, keyChunkSize: 0 }])
      assert.throws(
        () => agreedQos(asked, answered),
        (error) => isReason(error, 'AGREEMENT_FAILED') && /key_chunk_size of 0, where 32/.test(`${error}`),
      );
  });

  it('waits as long as both ends do; an answer of 0 says nothing', () => {
    const timeouts = [0, 1, 3_000, 9_000].map(
      (timeoutMs) => agreedQos(asked, { ...asked, timeoutMs }).timeoutMs,
    );
    assert.deepEqual(timeouts, [8_000, 1, 3_000, 8_000]);
  });
});
