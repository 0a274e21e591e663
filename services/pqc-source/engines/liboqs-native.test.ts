import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findKemAlgorithm, KEM_ALGORITHMS, type KemAlgorithm } from '#common/catalogue/kems.ts';
import { isReason } from '#common/errors/keyweave-error.ts';
import { kemEngineContract } from '#test/contract/kem-engine-contract.ts';
import { nativeMissing } from '#test/helpers/engines.ts';
import { createLiboqsNativeEngine, type LiboqsNode, loadLiboqsNode } from './liboqs-native.ts';

const row = (name: string) => findKemAlgorithm(name) as KemAlgorithm;

describe('the native engine where it is not built', () => {
  it('names the remedy', () => {
    assert.throws(
      () => loadLiboqsNode('/nowhere/liboqs-node.node'),
      (error) => isReason(error, 'UNSUPPORTED') && /make native/.test(String(error)),
    );
  });
});

if (!nativeMissing) kemEngineContract(createLiboqsNativeEngine(loadLiboqsNode()), new Set());

describe('the native engine', { skip: nativeMissing }, () => {
  const engine = nativeMissing ? undefined : createLiboqsNativeEngine(loadLiboqsNode());
  const kem = () => engine as NonNullable<typeof engine>;

  it('has the 29 KEMs of the reference in the sizes of the table, and no others', () => {
    const sizes = loadLiboqsNode()
      .algorithms()
      .map((one) => ({ ...one }))
      .sort((a, b) => a.name.localeCompare(b.name));
    const table = KEM_ALGORITHMS.map(
      ({ name, publicKeyBytes, privateKeyBytes, ciphertextBytes, sharedSecretBytes }) => ({
        name,
        publicKeyBytes,
        privateKeyBytes,
        ciphertextBytes,
        sharedSecretBytes,
      }),
    ).sort((a, b) => a.name.localeCompare(b.name));
    assert.deepEqual(sizes, table);
  });

  it('refuses wrong lengths before liboqs sees them', async () => {
    for (const algorithm of KEM_ALGORITHMS) {
      for (const length of [0, 1, algorithm.publicKeyBytes - 1, algorithm.publicKeyBytes + 1]) {
        await assert.rejects(kem().encapsulate(algorithm, Buffer.alloc(length)), (error) =>
          isReason(error, 'BAD_REQUEST'),
        );
      }
    }
    const algorithm = row('ML-KEM-768');
    const { privateKeys } = await kem().generateKeyPairs(algorithm, 1);
    for (const length of [0, 1, algorithm.ciphertextBytes - 1, algorithm.ciphertextBytes + 1]) {
      await assert.rejects(kem().decapsulate(algorithm, privateKeys, Buffer.alloc(length)), (error) =>
        isReason(error, 'BAD_REQUEST'),
      );
    }
  });

  it('refuses private keys that are wiped, too few or of another engine', async () => {
    const algorithm = row('ML-KEM-512');
    const { publicKeys, privateKeys } = await kem().generateKeyPairs(algorithm, 1);
    const { ciphertexts } = await kem().encapsulate(algorithm, publicKeys);
    const failed = (error: unknown) => isReason(error, 'AGREEMENT_FAILED');
    await assert.rejects(
      kem().decapsulate(algorithm, privateKeys, Buffer.concat([ciphertexts, ciphertexts])),
      failed,
    );
    await assert.rejects(kem().decapsulate(algorithm, { count: 1, wipe() {} }, ciphertexts), failed);
    privateKeys.wipe();
    await assert.rejects(kem().decapsulate(algorithm, privateKeys, ciphertexts), failed);
  });

  it('finishes a decapsulation whose keys are wiped meanwhile', async () => {
    const algorithm = row('FrodoKEM-640-AES');
    const { publicKeys, privateKeys } = await kem().generateKeyPairs(algorithm, 4);
    const { ciphertexts, sharedSecrets } = await kem().encapsulate(algorithm, publicKeys);
    const opening = kem().decapsulate(algorithm, privateKeys, ciphertexts);
    privateKeys.wipe();
    assert.deepEqual(await opening, sharedSecrets);
  });

  it('refuses public keys in memory that may shrink or is shared', async () => {
    const algorithm = row('ML-KEM-512');
    for (const memory of [
      new ArrayBuffer(algorithm.publicKeyBytes, { maxByteLength: 4096 }),
      new SharedArrayBuffer(algorithm.publicKeyBytes),
    ]) {
      const keys = Buffer.from(memory as ArrayBuffer);
      await assert.rejects(kem().encapsulate(algorithm, keys), (error) => isReason(error, 'BAD_REQUEST'));
    }
  });

  it('fails its self-test where the addon’s sizes are not those of the table', async () => {
    const real = loadLiboqsNode();
    const other: LiboqsNode = {
      ...real,
      algorithms: () => real.algorithms().map((sizes) => ({ ...sizes, sharedSecretBytes: 31 })),
    };
    await assert.rejects(createLiboqsNativeEngine(other).selfTest(), (error) => isReason(error, 'INTERNAL'));
  });

  it('does not let slow key generation hold up quick operations, nor Node’s own threads', async () => {
    const slow = Promise.all(
      Array.from({ length: 8 }, () => kem().generateKeyPairs(row('Classic-McEliece-6688128'), 1)),
    );
    let finished = false;
    void slow.then(() => {
      finished = true;
    });
    const { readFile } = await import('node:fs/promises');
    for (let i = 0; i < 20; i++) {
      await kem().generateKeyPairs(row('ML-KEM-768'), 1);
      await readFile(new URL(import.meta.url));
    }
    assert.equal(finished, false, 'quick operations waited for slow ones');
    for (const { privateKeys } of await slow) privateKeys.wipe();
  });
});
