import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Secret } from '#common/crypto/secret.ts';
import { BadRequestError } from '../http/bad-request-error.ts';
import { readQuery } from '../http/request-target.ts';
import { capabilitiesAnswer, entropyAnswer, keyAnswer } from './answers.ts';
import { readKeyId, readMinEntropy, readRemoteSystem, readSize } from './requests.ts';

const SIZES = { key_size: 256, min_key_size: 64, max_key_size: 4_096 };

describe('requests of SKIP', () => {
  it('name the remote system, by a member in letters of either case', () => {
    for (const text of ['remoteSystemID=b', 'remoteSystemId=b', 'x=1&REMOTESYSTEMID=b']) {
      assert.equal(readRemoteSystem(readQuery(text)), 'b');
    }
    for (const text of ['', 'remoteSystemID', 'remoteSystem=b', 'remoteSystemID=b&remoteSystemId=b']) {
      assert.throws(() => readRemoteSystem(readQuery(text)), BadRequestError, text);
    }
  });

  it('ask for keys within the sizes of the settings', () => {
    for (const [text, bits] of [
      ['', 256],
      ['size=64', 64],
      ['size=4096', 4_096],
      ['Size=128', 128],
    ] as const) {
      assert.equal(readSize(readQuery(text), SIZES), bits);
    }
    for (const text of ['size=', 'size=56', 'size=100', 'size=4104', 'size=1e3', 'size=-64', 'size=64.0']) {
      assert.throws(() => readSize(readQuery(text), SIZES), BadRequestError, text);
    }
  });

  it('ask for entropy up to a limit', () => {
    assert.deepEqual(
      ['', 'minentropy=1', 'minentropy=4096'].map((text) => readMinEntropy(readQuery(text))),
      [256, 1, 4_096],
    );
    for (const text of ['minentropy=0', 'minentropy=4097', 'minentropy=9999999999', 'minentropy=x']) {
      assert.throws(() => readMinEntropy(readQuery(text)), BadRequestError, text);
    }
  });

  it('name keys by 32 hexadecimal digits', () => {
    const id = 'BC4904197d60487fadc14ddcc177c139';
    assert.equal(readKeyId(id), 'bc490419-7d60-487f-adc1-4ddcc177c139');
    for (const text of ['', id.slice(1), `${id}0`, `g${id.slice(1)}`, readKeyId(id)]) {
      assert.throws(() => readKeyId(text), BadRequestError, text);
    }
  });
});

describe('answers of SKIP', () => {
  const parsed = (answer: Buffer) => JSON.parse(answer.toString());

  it('have a key and its name in hexadecimal, and wipe what they are made of, more than once', () => {
    for (const fill of [0x0f, 0xf0]) {
      const key = new Secret(Buffer.alloc(33, fill));
      const answer = keyAnswer({ id: 'bc490419-7d60-487f-adc1-4ddcc177c139', key });
      assert.deepEqual(parsed(answer), {
        keyId: 'bc4904197d60487fadc14ddcc177c139',
        key: Buffer.alloc(33, fill).toString('hex'),
      });
      assert.ok(key.wiped);
      const random = Buffer.alloc(4, fill);
      assert.deepEqual(parsed(entropyAnswer(random)), {
        randomStr: Buffer.alloc(4, fill).toString('hex'),
        minentropy: 32,
      });
      assert.ok(random.every((byte) => byte === 0));
    }
  });

  it('say what there is', () => {
    const capabilities = { algorithm: 'x', localSystem: 'a', remoteSystems: ['b', 'c'] };
    assert.deepEqual(parsed(capabilitiesAnswer(capabilities)), {
      ...{ entropy: true, key: true, algorithm: 'x', localSystemID: 'a', remoteSystemID: ['b', 'c'] },
    });
  });
});
