import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isReason } from '#common/errors/keyweave-error.ts';
import { parseApplicationUri, quote } from './application-uri.ts';

const NODE = 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa';
const parse = (query: string) => parseApplicationUri('source', `hybrid://app@${NODE}${query}`);

/** What is suggested in place of a parameter that nobody knows. */
function suggestion(name: string): string | undefined {
  try {
    parse(`?${name}=x`);
  } catch (error) {
    assert.ok(isReason(error, 'UNSUPPORTED'), `${error}`);
    return /did you mean (\w+)\?/.exec(String(error))?.[1];
  }
  throw new assert.AssertionError({ message: `${name} was taken` });
}

describe('parseApplicationUri', () => {
  it('gives the node in lower case, and null for what the URI leaves out', () => {
    const uri = parseApplicationUri('source', `HYBRID://app@${NODE.toUpperCase()}/?kem_mec=a`);
    assert.equal(uri.node, NODE);
    assert.deepEqual([uri.parameter('kem_mec'), uri.parameter('key_sources')], ['a', null]);
    for (const query of ['', '/', '?', '/?']) assert.equal(parse(query).parameter('kem_mec'), null);
  });

  it('takes a URI of 4096 characters and none that is longer', () => {
    const whole = `hybrid://app@${NODE}?kem_mec=`;
    const fill = 'x'.repeat(4_096 - whole.length);
    assert.equal(parseApplicationUri('source', whole + fill).parameter('kem_mec'), fill);
    assert.throws(
      () => parseApplicationUri('destination', `${whole}${fill}x`),
      (error) => isReason(error, 'NO_ROUTE') && /the destination URI is over 4096/.test(`${error}`),
    );
  });

  it('refuses a URI of another form, which it repeats', () => {
    for (const uri of [
      '',
      'hybrid://app@node',
      `hybrid://${NODE}`,
      `hybrid://app@${NODE}1`,
      `x hybrid://app@${NODE}`,
    ])
      assert.throws(
        () => parseApplicationUri('destination', uri),
        (error) => isReason(error, 'NO_ROUTE') && String(error).endsWith(`: ${JSON.stringify(uri)}`),
      );
  });

  for (const [name, meant] of [
    ['kem_', 'kem_mec'],
    ['kem_mecabc', 'kem_mec'],
    ['xyz_mec', 'kem_mec'],
    ['kem_wxy', 'kem_mec'],
    ['ekmm_mec', 'kem_mec'],
    ['hybridizat', 'hybridization'],
    ['KeySources', 'key_sources'],
  ]) {
    it(`suggests ${meant} for ${name}`, () => assert.equal(suggestion(name as string), meant));
  }

  for (const name of ['kem', 'kem_mecwxyz', 'wkem_mecxyz', 'wxyzmec', 'kem_method', 'x'])
    it(`suggests nothing for ${name}, which is too far from any`, () =>
      assert.equal(suggestion(name), undefined));
});

describe('quote', () => {
  it('keeps a client’s text on one line, and cuts it after 120 characters', () => {
    assert.equal(quote('a\n"b"'), '"a\\n\\"b\\""');
    const text = `${'a'.padEnd(119, 'b')}c`;
    assert.equal(quote(text), `"${text}"`);
    assert.equal(quote(`${text}d`), `"${text}…"`);
  });
});
