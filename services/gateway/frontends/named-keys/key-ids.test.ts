import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import { describe, it } from 'node:test';
import { UUID } from '#common/ids/uuid.ts';
import { isOfKind, KeyIds, readKeyId, tagOf } from './key-ids.ts';
import { ETSI014_KEYS, SKIP_KEYS } from './key-kinds.ts';

const KSID = '11111111-1111-4111-8111-111111111111';

describe('the key_IDs of a stream', () => {
  it('are laid out as they are described, of SHA-256', () => {
    const sha256 = (...parts: Buffer[]) => createHash('sha256').update(Buffer.concat(parts)).digest('hex');
    const seed = Buffer.concat([
      Buffer.from('keyweave etsi014 key_ID 1\0'),
      Buffer.from(KSID.replaceAll('-', ''), 'hex'),
    ]);
    const h = sha256(seed, Buffer.from('0012abcd', 'hex'));
    const variant = { 0: '8', 1: '9', 2: 'a', 3: 'b' }[h.charCodeAt(14) & 3];
    assert.equal(
      new KeyIds(KSID, ETSI014_KEYS).of(0x12abcd),
      `${sha256(seed).slice(0, 8)}-0012-8${h.slice(0, 3)}-${variant}${h.slice(3, 6)}-${h.slice(6, 14)}abcd`,
    );
  });

  it('are told back as indexes, and no other stream takes one for its own', () => {
    const [ids, others] = [new KeyIds(KSID, ETSI014_KEYS), new KeyIds(randomUUID(), ETSI014_KEYS)];
    for (const index of [0, 1, 9, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0xffff_ffff]) {
      const id = ids.of(index);
      assert.match(id, UUID);
      assert.match(id, /^.{14}8.{4}[89ab]/);
      assert.equal(tagOf(id), ids.tag);
      assert.equal(ids.indexOf(id), index);
      assert.equal(others.indexOf(id), undefined);
    }
  });

  it('say of which kind they are, and are never those of the other', () => {
    const [one, other] = [new KeyIds(KSID, ETSI014_KEYS), new KeyIds(KSID, SKIP_KEYS)];
    for (const index of [0, 1, 65_536]) {
      const [id, otherId] = [one.of(index), other.of(index)];
      assert.deepEqual([isOfKind(id, ETSI014_KEYS), isOfKind(id, SKIP_KEYS)], [true, false]);
      assert.deepEqual([isOfKind(otherId, ETSI014_KEYS), isOfKind(otherId, SKIP_KEYS)], [false, true]);
      assert.deepEqual([one.indexOf(otherId), other.indexOf(id)], [undefined, undefined]);
    }
    assert.notEqual(one.tag, other.tag);
  });

  it('are not made by whoever changes a digit', () => {
    const ids = new KeyIds(KSID, ETSI014_KEYS);
    const id = ids.of(5);
    for (const [at, char] of [...id].entries()) {
      if (char === '-') continue;
      const changed = `${id.slice(0, at)}${char === '0' ? '1' : '0'}${id.slice(at + 1)}`;
      assert.equal(ids.indexOf(changed), undefined, `digit ${at}`);
    }
  });

  it('are read in letters of either case, of any version, and nothing else is', () => {
    const id = 'BC490419-7d60-487f-adc1-4ddcc177c139';
    assert.equal(readKeyId(id), id.toLowerCase());
    assert.equal(readKeyId('00000000-0000-0000-0000-000000000000'), '00000000-0000-0000-0000-000000000000');
    for (const text of ['', 'x', `${id} `, id.replaceAll('-', ''), `{${id}}`]) {
      assert.equal(readKeyId(text), undefined, text);
    }
  });
});
