import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KEM_ALGORITHMS } from '#common/algorithms/kem-algorithms.ts';
import { nativeMissing } from '../../services/pqc-source/engines/engines-for-tests.ts';
import { loadLiboqsNode } from '../../services/pqc-source/engines/liboqs-native.ts';

/** Longer with KEYWEAVE_FUZZ_ROUNDS, e.g. for a night. */
const ROUNDS = Number(process.env.KEYWEAVE_FUZZ_ROUNDS ?? 20_000);

/** A small generator of its own, so that a failure can be had again from the seed that it prints. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const LIGHT = KEM_ALGORITHMS.filter((row) => row.cost !== 'heavy');

const GARBAGE: (() => unknown)[] = [
  () => undefined,
  () => null,
  () => true,
  () => Number.NaN,
  () => Number.POSITIVE_INFINITY,
  () => -1,
  () => 0,
  () => 0.5,
  () => 2 ** 53,
  () => 1e308,
  () => 10n ** 30n,
  () => '',
  () => '\0',
  () => '\ud800',
  () => 'x'.repeat(100_000),
  () => 'ML-KEM-768\0',
  () => Symbol('s'),
  () => () => 1,
  () => ({}),
  () => [],
  () => Object.create(null),
  () => new Proxy({}, { get: () => assert.fail('the addon read a property') }),
  () => new Date(),
  () => new Float64Array(8),
  () => new DataView(new ArrayBuffer(16)),
  () => new ArrayBuffer(1184),
  () => new Uint8Array(0),
  () => structuredClone(new Uint8Array(16), { transfer: [] }),
];

describe('random and hostile calls of every entry point of the addon', { skip: nativeMissing }, () => {
  it(`${ROUNDS} calls reject or give results of the right size, and nothing crashes`, async () => {
    const addon = loadLiboqsNode() as unknown as Record<string, (...args: unknown[]) => unknown>;
    const seed = Number(process.env.KEYWEAVE_FUZZ_SEED ?? Date.now() % 2 ** 32);
    const next = random(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
    const chance = (p: number) => next() < p;
    const noise = (bytes: number) => Buffer.alloc(bytes, Math.floor(next() * 256));
    /** Mostly the right length, else near it or far from it. */
    const bytesFor = (size: number): unknown => {
      if (chance(0.2)) return pick(GARBAGE)();
      if (chance(0.3)) return noise(Math.max(0, size + Math.floor(next() * 5) - 2));
      if (chance(0.1)) return noise(Math.floor(next() * 4 * size));
      return noise(size * (1 + Math.floor(next() * 2)));
    };
    const lane = () => (chance(0.1) ? pick(GARBAGE)() : pick(['light', 'medium', 'heavy', 'LIGHT']));
    let settled = 0;
    let refused = 0;
    async function call(round: number): Promise<void> {
      const row = pick(LIGHT);
      const name = chance(0.1) ? pick(GARBAGE)() : row.name;
      const count = chance(0.3) ? pick(GARBAGE)() : 1 + Math.floor(next() * 2);
      const calls: Record<string, unknown[]> = {
        algorithms: [pick(GARBAGE)()],
        generateKeyPairs: [name, count, lane()],
        encapsulate: [name, bytesFor(row.publicKeyBytes), lane()],
        decapsulate: [name, bytesFor(row.privateKeyBytes), bytesFor(row.ciphertextBytes), lane()],
        measure: [name, count, lane()],
      };
      const entry = pick(Object.keys(addon));
      const args = calls[entry];
      assert.ok(args, `no arguments are made for ${entry}`);
      if (chance(0.05)) args.length = Math.floor(next() * args.length);
      if (chance(0.05)) args.push(pick(GARBAGE)());
      try {
        await addon[entry]?.(...args);
        settled += 1;
      } catch (error) {
        assert.ok(error instanceof Error, `round ${round}, seed ${seed}: ${String(error)}`);
        refused += 1;
      }
    }
    const together = 16;
    for (let round = 0; round < ROUNDS; round += together)
      await Promise.all(Array.from({ length: together }, (_, i) => call(round + i)));
    assert.ok(settled > ROUNDS / 20 && refused > ROUNDS / 20, `${settled} settled, ${refused} refused`);
  });

  it('survives private keys and ciphertexts of random bytes, of every algorithm', async () => {
    const addon = loadLiboqsNode();
    const next = random(7);
    for (const row of KEM_ALGORITHMS) {
      for (let i = 0; i < 3; i++) {
        const noise = (bytes: number) =>
          Buffer.from(Uint8Array.from({ length: bytes }, () => Math.floor(next() * 256)));
        const outcomes = await Promise.allSettled([
          addon.encapsulate(row.name, noise(row.publicKeyBytes), 'light'),
          addon.decapsulate(row.name, noise(row.privateKeyBytes), noise(row.ciphertextBytes), 'light'),
        ]);
        for (const outcome of outcomes)
          if (outcome.status === 'rejected') assert.equal(outcome.reason.message, 'the operation failed');
      }
    }
  });
});
