import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { KEM_ALGORITHMS } from '#common/catalogue/kems.ts';
import { loadLiboqsNode } from '../../services/pqc-source/engines/liboqs-native.ts';
import { nativeMissing } from '../helpers/engines.ts';
import { fuzzParameters } from '../helpers/fuzz-parameters.ts';

/** Calls under way at the same time. */
const TOGETHER = 16;
const ROUNDS = 1_250;

const LIGHT = KEM_ALGORITHMS.filter((row) => row.cost !== 'heavy');

/** By name, so that a failure can print what it was. */
const GARBAGE: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  NaN: () => Number.NaN,
  infinity: () => Number.POSITIVE_INFINITY,
  '-1': () => -1,
  '0': () => 0,
  half: () => 0.5,
  '2^53': () => 2 ** 53,
  '1e308': () => 1e308,
  bigint: () => 10n ** 30n,
  'empty string': () => '',
  'zero byte': () => '\0',
  'lone surrogate': () => '\ud800',
  'long string': () => 'x'.repeat(100_000),
  'name with zero byte': () => 'ML-KEM-768\0',
  symbol: () => Symbol('s'),
  function: () => () => 1,
  object: () => ({}),
  array: () => [],
  'object without prototype': () => Object.create(null),
  // The bridge to Node looks at what it refuses, to name it in its error.
  'object that throws': () =>
    new Proxy(
      {},
      {
        get: () => {
          throw new Error('no property is to be had');
        },
      },
    ),
  date: () => new Date(),
  'array of doubles': () => new Float64Array(8),
  'data view': () => new DataView(new ArrayBuffer(16)),
  'array buffer': () => new ArrayBuffer(1184),
  'no bytes': () => new Uint8Array(0),
  'bytes of another memory': () => structuredClone(new Uint8Array(16), { transfer: [] }),
};

type Garbage = { readonly garbage: string };
/** Bytes of a size given relative to the right one: `times` it, and `more`. */
type Sized = { readonly times: number; readonly more: number; readonly fill: number };
type Argument<T> = Garbage | T;

interface Call {
  readonly entry: string;
  readonly algorithm: number;
  readonly name: Garbage | 'right';
  readonly count: Argument<{ readonly number: number }>;
  readonly lane: Argument<{ readonly lane: string }>;
  readonly first: Argument<Sized>;
  readonly second: Argument<Sized>;
  /** Arguments that are left out at the end. */
  readonly missing: number;
  readonly extra: Garbage | undefined;
}

const garbage = fc.constantFrom(...Object.keys(GARBAGE)).map((name): Garbage => ({ garbage: name }));

/** Mostly sound, else garbage. */
function mostly<T>(sound: fc.Arbitrary<T>): fc.Arbitrary<Argument<T>> {
  return fc.oneof({ arbitrary: sound, weight: 5 }, { arbitrary: garbage, weight: 1 });
}

/** Mostly the right length, else near it or far from it. */
const sized = mostly(
  fc.record({
    times: fc.oneof(
      { arbitrary: fc.constantFrom(1, 2), weight: 4 },
      { arbitrary: fc.constantFrom(0, 3, 4), weight: 1 },
    ),
    more: fc.oneof(
      { arbitrary: fc.constant(0), weight: 2 },
      { arbitrary: fc.integer({ min: -2, max: 300 }), weight: 1 },
    ),
    fill: fc.nat(255),
  }),
);

function callOf(entries: readonly string[]): fc.Arbitrary<Call> {
  return fc.record({
    entry: fc.constantFrom(...entries),
    algorithm: fc.nat(LIGHT.length - 1),
    name: mostly(fc.constant<'right'>('right')) as fc.Arbitrary<Garbage | 'right'>,
    count: mostly(fc.record({ number: fc.constantFrom(1, 2) })),
    lane: mostly(fc.record({ lane: fc.constantFrom('light', 'medium', 'heavy', 'LIGHT') })),
    first: sized,
    second: sized,
    missing: fc.oneof({ arbitrary: fc.constant(0), weight: 19 }, { arbitrary: fc.nat(4), weight: 1 }),
    extra: fc.option(garbage, { freq: 20, nil: undefined }),
  });
}

function made<T>(argument: Argument<T>, sound: (value: T) => unknown): unknown {
  if (typeof argument === 'object' && argument !== null && 'garbage' in argument)
    return GARBAGE[argument.garbage]?.();
  return sound(argument as T);
}

function argumentsOf(call: Call): unknown[] {
  const row = LIGHT[call.algorithm] as (typeof LIGHT)[number];
  const bytes = (argument: Argument<Sized>, size: number) =>
    made(argument, ({ times, more, fill }) => Buffer.alloc(Math.max(0, times * size + more), fill));
  const name = call.name === 'right' ? row.name : GARBAGE[call.name.garbage]?.();
  const count = made(call.count, ({ number }) => number);
  const lane = made(call.lane, (one) => one.lane);
  const all: Readonly<Record<string, unknown[]>> = {
    algorithms: [count],
    generateKeyPairs: [name, count, lane],
    encapsulate: [name, bytes(call.first, row.publicKeyBytes), lane],
    decapsulate: [
      name,
      bytes(call.first, row.privateKeyBytes),
      bytes(call.second, row.ciphertextBytes),
      lane,
    ],
    measure: [name, count, lane],
  };
  const args = all[call.entry];
  assert.ok(args, `no arguments are made for ${call.entry}`);
  args.length = Math.max(0, args.length - call.missing);
  if (call.extra) args.push(GARBAGE[call.extra.garbage]?.());
  return args;
}

describe('random and hostile calls of every entry point of the addon', { skip: nativeMissing }, () => {
  it('reject or give results, and nothing crashes', async () => {
    const addon = loadLiboqsNode() as unknown as Record<string, (...args: unknown[]) => unknown>;
    let settled = 0;
    let refused = 0;
    async function make(call: Call): Promise<void> {
      try {
        await addon[call.entry]?.(...argumentsOf(call));
        settled += 1;
      } catch (error) {
        assert.ok(error instanceof Error, String(error));
        refused += 1;
      }
    }
    const calls = fc.array(callOf(Object.keys(addon)), { minLength: 1, maxLength: TOGETHER, size: 'max' });
    await fc.assert(
      fc.asyncProperty(calls, async (together) => {
        await Promise.all(together.map(make));
      }),
      fuzzParameters(ROUNDS),
    );
    const all = settled + refused;
    assert.ok(
      all < 1_000 || (settled > all / 20 && refused > all / 20),
      `${settled} settled, ${refused} refused`,
    );
  });

  it('survive private keys and ciphertexts of random bytes, of every algorithm', async () => {
    const addon = loadLiboqsNode();
    for (const row of KEM_ALGORITHMS) {
      // A few bytes say all: random ones of a megabyte would take longer to make than to refuse.
      const noise = (bytes: number) =>
        fc.uint8Array({ minLength: 64, maxLength: 64 }).map((pattern) => Buffer.alloc(bytes, pattern));
      await fc.assert(
        fc.asyncProperty(
          noise(row.publicKeyBytes),
          noise(row.privateKeyBytes),
          noise(row.ciphertextBytes),
          async (publicKey, privateKey, ciphertext) => {
            const outcomes = await Promise.allSettled([
              addon.encapsulate(row.name, publicKey, 'light'),
              addon.decapsulate(row.name, privateKey, ciphertext, 'light'),
            ]);
            for (const outcome of outcomes)
              if (outcome.status === 'rejected') assert.equal(outcome.reason.message, 'the operation failed');
          },
        ),
        fuzzParameters(3, KEM_ALGORITHMS.length),
      );
    }
  });
});
