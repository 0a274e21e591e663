import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseKsid } from './ksid.ts';

const KSID = '11111111-aaaa-4111-8111-111111111111';

describe('parseKsid', () => {
  it('gives the canonical form, whatever the case', () => {
    assert.equal(parseKsid(KSID), KSID);
    assert.equal(parseKsid(KSID.toUpperCase()), KSID);
  });

  it('takes the nil UUID for none, and no other', () => {
    assert.equal(parseKsid('00000000-0000-0000-0000-000000000000'), undefined);
    assert.notEqual(parseKsid('00000000-0000-0000-0000-000000000001'), undefined);
  });

  for (const text of ['', KSID.replaceAll('-', ''), `${KSID}1`, `x${KSID}`, KSID.replace('a', 'g')]) {
    it(`refuses ${JSON.stringify(text)}`, () =>
      assert.throws(
        () => parseKsid(text),
        (error) => isReason(error, 'BAD_REQUEST') && String(error).includes('key_stream_id'),
      ));
  }
});
