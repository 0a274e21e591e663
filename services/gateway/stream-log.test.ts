import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';
import type { LogFields } from '#common/log/log.ts';
import { ALICE, BOB } from '#test/helpers/streams.ts';
import { type LoggedStream, StreamLog } from './stream-log.ts';

const KSID = '0123abcd-4455-4677-8899-aabbccddeeff';
const STREAM: LoggedStream = {
  id: KSID,
  role: 'initiator',
  terms: {
    sourceNode: ALICE,
    destinationNode: BOB,
    method: { name: 'hkdf-sha384' },
    slots: [{ algorithm: 'ML-KEM-768' }, { algorithm: 'QKD' }],
  },
  route: { hops: 0 },
  owner: { address: '10.0.0.7:4000', identity: undefined },
};
const FIELDS = {
  ksid: '0123abcd',
  client: '10.0.0.7:4000',
  role: 'initiator',
  sourceNode: ALICE,
  destinationNode: BOB,
  method: 'hkdf-sha384',
  sources: 'ML-KEM-768, QKD',
};

let lines: [level: string, message: string, fields: LogFields | undefined][];
let log: StreamLog;
beforeEach(() => {
  lines = [];
  const note = (level: string) => (message: string, fields?: LogFields) =>
    void lines.push([level, message, fields]);
  log = new StreamLog({ info: note('info'), warning: note('warning') }, () => 0);
});

describe('the log of streams', () => {
  it('has one line each for a stream that is opened, joined, expired and closed, and why', () => {
    log.opened(STREAM);
    log.joined(STREAM);
    log.expired(STREAM);
    log.closed(STREAM, 'the application has closed it');
    assert.deepEqual(lines, [
      ['info', 'a stream was opened', FIELDS],
      ['info', "a stream was joined by the other node's application", FIELDS],
      ['info', 'a stream has expired', { ...FIELDS, why: 'its TTL has run out' }],
      ['info', 'a stream was closed', { ...FIELDS, why: 'the application has closed it' }],
    ]);
  });

  it('names the identity of a client that has one, and the nodes in between where there are any', () => {
    const identity = 'spiffe://keyweave/node/x/app';
    log.opened({ ...STREAM, route: { hops: 2 }, owner: { address: '[::1]:4000', identity } });
    assert.partialDeepStrictEqual(lines[0]?.[2], { client: '[::1]:4000', identity, hops: 2 });
  });

  it('can name no client of a stream that no application of this end has', () => {
    log.closed({ ...STREAM, owner: undefined }, 'the other end has closed it');
    const { client: _, ...others } = FIELDS;
    assert.deepEqual(lines[0]?.[2], { ...others, why: 'the other end has closed it' });
  });

  it('has no KSID in it, which is a bearer token, but its first digits', () => {
    const error = new KeyweaveError('QKD_UNAVAILABLE', 'the key manager is gone');
    log.opened(STREAM);
    log.closed(STREAM, 'x');
    log.dropped(STREAM, 4, 2, error);
    log.degraded(STREAM, 4, 2, 'shared_seed');
    assert.equal(lines.length, 4);
    for (const line of lines) {
      assert.match(JSON.stringify(line), /0123abcd/);
      assert.doesNotMatch(JSON.stringify(line), /4455/);
    }
  });

  it('says who was refused, from where, and why', () => {
    const owner = { address: '10.0.0.7:4000', identity: 'app' };
    log.refused({ call: 'open', owner, error: new KeyweaveError('NO_ROUTE', 'no such node') });
    assert.deepEqual(lines, [
      [
        'info',
        'a request was refused',
        {
          client: '10.0.0.7:4000',
          identity: 'app',
          call: 'open',
          reason: 'NO_ROUTE',
          detail: 'no such node',
        },
      ],
    ]);
  });

  it('lets no client fill it, whatever port it calls from, and takes no lines of others for that', () => {
    const error = new KeyweaveError('BAD_REQUEST', 'x'.repeat(100_000));
    for (let port = 0; port < 5_000; port++)
      log.refused({ call: 'getKey', owner: { address: `10.0.0.7:${port}`, identity: undefined }, error });
    log.refused({ call: 'getKey', owner: { address: '10.0.0.8:1', identity: undefined }, error });
    log.close();
    assert.equal(lines.length, 12);
    assert.deepEqual(lines.at(-1), [
      'info',
      'refusals of requests were left out',
      { from: '10.0.0.7', leftOut: 4_990 },
    ]);
    assert.ok(JSON.stringify(lines).length < 10_000);
  });

  it('warns of dropped batches and stand-ins, of each stream a few', () => {
    const error = new KeyweaveError('SOURCE_FAULT', 'equal secrets');
    for (let first = 0; first < 100; first++) log.dropped(STREAM, first, 1, error);
    log.degraded({ ...STREAM, id: `f${KSID.slice(1)}` }, 7, 3, 'shared_seed');
    assert.deepEqual(lines[0], [
      'warning',
      'a batch was dropped',
      { ksid: '0123abcd', first: 0, count: 1, reason: 'SOURCE_FAULT', detail: 'equal secrets' },
    ]);
    assert.equal(lines.length, 11);
    assert.deepEqual(lines.at(-1), [
      'warning',
      'a shared_seed stands in for a source',
      { ksid: 'f123abcd', first: 7, count: 3 },
    ]);
  });
});
