import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import type { KeyweaveError } from '#common/errors/keyweave-error.ts';
import { streamHash } from '#common/ids/stream-hash.ts';
import { silentLog } from '#common/log/silent-log.ts';
import { ALICE, BOB, keyStream, LIVING } from '#test/helpers/streams.ts';
import type { Delivered, GetKey, KeyDelivery } from '../delivery/key-delivery.ts';
import { type RefusedRequest, StreamEvents } from '../streams/stream-events.ts';
import { AuditLog } from './audit-log.ts';
import { AuditedDelivery } from './audited-delivery.ts';

const folder = mkdtempSync(join(tmpdir(), 'keyweave-audit-'));
after(() => rmSync(folder, { recursive: true }));

const owner = { identity: 'spiffe://keyweave/app', address: '192.0.2.7:4711' };
const KEY = Buffer.from('5e'.repeat(32), 'hex');

/** A delivery whose every key is taken from one stream, at once or a moment later. */
function audited(filename: string, whenUnwritable: 'refuse' | 'deliver' = 'refuse', waits = false) {
  const errors: string[] = [];
  const audit = new AuditLog({
    nodeUuid: ALICE,
    filename,
    log: { error: (message) => errors.push(message) },
    wallNow: () => 0,
  });
  const refused: RefusedRequest[] = [];
  const events = new StreamEvents([audit, { refused: (request) => refused.push(request) }]);
  const stream = keyStream({ events });
  const given: Delivered[] = [];
  const inner: Pick<KeyDelivery, 'getKey'> = {
    getKey: ({ index = 0 }: GetKey) => {
      const delivered = { index, key: new Secret(Buffer.from(KEY)), metadata: '{}' };
      given.push(delivered);
      events.delivered(stream, index, false);
      return waits ? Promise.resolve(delivered) : delivered;
    },
  };
  const delivery = new AuditedDelivery(inner as KeyDelivery, { audit, whenUnwritable, events });
  const get = (index: number) =>
    delivery.getKey({ ksid: stream.id.toUpperCase(), index, owner, signal: LIVING });
  return { audit, stream, get, given, refused, errors };
}

describe('the audit log', () => {
  for (const waits of [false, true]) {
    it(`has a line of every key before it leaves, ${waits ? 'also of one that is waited for' : 'when it is ready'}`, async () => {
      const filename = join(folder, `${waits}.jsonl`);
      const { get, stream, audit } = audited(filename, 'refuse', waits);
      const answer = get(7);
      if (waits) assert.equal(readFileSync(filename, 'utf8'), '');
      const { key } = await answer;
      const text = readFileSync(filename, 'utf8');
      assert.deepEqual(JSON.parse(text), {
        ...{ time: '1970-01-01T00:00:00.000Z', event: 'key-delivered', node: ALICE },
        ...{ stream: streamHash(stream.id), index: 7, peer: BOB, role: 'initiator', method: 'hkdf-sha384' },
        ...{ sources: ['ML-KEM-768', 'QKD'], degraded: false, bytes: 32 },
        ...{ client: owner.address, identity: owner.identity },
      });
      assert.ok(!key.wiped);
      for (const secret of [stream.id, KEY.toString('hex'), KEY.toString('base64')])
        assert.ok(!text.includes(secret));
      assert.equal(statSync(filename).mode & 0o027, 0, 'others may neither read nor write it');
      audit.close();
    });
  }

  it('names the application for which a listener takes a key, not the listener', () => {
    const filename = join(folder, 'listener.jsonl');
    const { audit, stream } = audited(filename);
    audit.record(stream.id, 1, { ...owner, onBehalfOf: 'sae-a' }, 32);
    assert.equal(JSON.parse(readFileSync(filename, 'utf8')).identity, 'sae-a');
    audit.close();
  });

  it('gives no key whose line cannot be written: it is wiped, and the refusal is told', async () => {
    for (const waits of [false, true]) {
      const { get, given, refused, audit, errors } = audited('/dev/full', 'refuse', waits);
      await assert.rejects(async () => get(3), /audit log cannot be written/);
      assert.deepEqual(
        given.map(({ key }) => key.wiped),
        [true],
      );
      assert.deepEqual(
        refused.map(({ call, error }) => [call, (error as KeyweaveError).reason]),
        [['getKey', 'INTERNAL']],
      );
      assert.equal(audit.failures, 1);
      assert.equal(errors.length, 1);
    }
  });

  it('gives it all the same where it is configured so, and counts', async () => {
    const { get, refused, audit } = audited('/dev/full', 'deliver');
    assert.ok(!(await get(3)).key.wiped);
    assert.deepEqual([audit.failures, refused], [1, []]);
  });

  it('goes on in a new file after the old one was moved away', async () => {
    const filename = join(folder, 'rotated.jsonl');
    const { get, audit } = audited(filename);
    await get(1);
    renameSync(filename, `${filename}.1`);
    audit.reopen();
    await get(2);
    for (const [path, index] of [
      [`${filename}.1`, 1],
      [filename, 2],
    ] as const)
      assert.equal(JSON.parse(readFileSync(path, 'utf8')).index, index);
  });

  it('names the key of the configuration when the file cannot be opened', () => {
    const filename = join(folder, 'true.jsonl', 'below-a-file');
    assert.throws(() => new AuditLog({ nodeUuid: ALICE, filename, log: silentLog }), {
      reason: 'BAD_CONFIG',
      detail: `telemetry.audit.filename: ${filename} cannot be written (EEXIST)`,
    });
  });
});
