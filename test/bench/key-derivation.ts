/**
 * What the HMAC and HKDF of the service cost beside node:crypto's, a chunk:
 * output key and both confirmation tags, as the hybridizer derives them.
 *
 * node test/bench/key-derivation.ts [--rounds N] [--budget MS]
 *
 * All are measured in turn, round by round, so that a noisy machine is noisy
 * for each; CPU time of the process, medians over the rounds.
 */
import assert from 'node:assert/strict';
import { createHmac, hash as digest, hkdfSync, randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { printTable } from '../../services/cli/table.ts';
import { HASHES, type HashName, hkdf, hmac } from '../../services/hybridizer/hmac-hkdf.ts';
import { lengthPrefixed } from '../../services/hybridizer/length-prefixed.ts';
import { median } from './figures.ts';

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, budget: { type: 'string', default: '40' } },
});

interface Primitives {
  hmac(hash: HashName, key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer;
  /** Extract and expand. */
  hkdf(hash: HashName, salt: Buffer, ikm: readonly Buffer[], info: readonly Buffer[], out: Buffer): void;
}

function expandBy(mac: Primitives['hmac']): Primitives['hkdf'] {
  return (hash, salt, ikm, info, out) => {
    const prk = mac(hash, salt, ...ikm);
    let block = Buffer.alloc(0);
    for (let at = 0, i = 1; at < out.length; i++) {
      const next = mac(hash, prk, block, ...info, Buffer.of(i));
      block.fill(0);
      block = next as typeof block;
      at += block.copy(out, at);
    }
    block.fill(0);
    prk.fill(0);
  };
}

/** Two one-shot hashes for each HMAC, those of HKDF too. */
const oneShot = (() => {
  const scratch = Buffer.alloc(16_384);
  const pad = (key: Uint8Array, blockBytes: number, value: number) => {
    for (let i = 0; i < key.length; i++) scratch[i] = (key[i] as number) ^ value;
    scratch.fill(value, key.length, blockBytes);
  };
  const mac: Primitives['hmac'] = (hash, key, ...parts) => {
    const { bytes, blockBytes } = HASHES[hash];
    const shortKey = key.length > blockBytes ? digest(hash, key, 'buffer') : key;
    pad(shortKey, blockBytes, 0x36);
    let at = blockBytes;
    for (const part of parts) {
      scratch.set(part, at);
      at += part.length;
    }
    const inner = digest(hash, scratch.subarray(0, at), 'buffer');
    pad(shortKey, blockBytes, 0x5c);
    inner.copy(scratch, blockBytes);
    const made = digest(hash, scratch.subarray(0, blockBytes + bytes), 'buffer');
    inner.fill(0);
    scratch.fill(0, 0, Math.max(at, blockBytes + bytes));
    return made;
  };
  return { hmac: mac, hkdf: expandBy(mac) };
})();

/** An HMAC object for each. */
const objects: Primitives = (() => {
  const mac: Primitives['hmac'] = (hash, key, ...parts) => {
    const object = createHmac(hash, key);
    for (const part of parts) object.update(part);
    return object.digest();
  };
  return { hmac: mac, hkdf: expandBy(mac) };
})();

/** HKDF in one call over copies, HMAC by objects. */
const whole: Primitives = {
  hmac: objects.hmac,
  hkdf(hash, salt, ikm, info, out) {
    const secret = Buffer.concat(ikm);
    const made = Buffer.from(hkdfSync(hash, secret, salt, Buffer.concat(info), out.length));
    made.copy(out);
    made.fill(0);
    secret.fill(0);
  },
};

const service: Primitives = { hmac, hkdf };

const CANDIDATES = {
  service,
  'one-shot hashes': oneShot,
  'HMAC objects': objects,
  'hkdfSync, HMAC objects': whole,
};
const [SALT, LABEL, KEY_LABEL, ROLE] = [25, 22, 28, 9].map((bytes) => randomBytes(bytes)) as Buffer[];
const confirmationKey = Buffer.alloc(32);

function chunk(
  by: Primitives,
  hash: HashName,
  secrets: readonly Buffer[],
  context: Buffer,
  out: Buffer,
): Buffer {
  by.hkdf(hash, SALT as Buffer, lengthPrefixed(secrets), [LABEL as Buffer, context], out);
  const transcript = digest('sha256', context, 'buffer');
  by.hkdf(
    'sha256',
    SALT as Buffer,
    lengthPrefixed(secrets),
    [KEY_LABEL as Buffer, transcript],
    confirmationKey,
  );
  by.hmac('sha256', confirmationKey, ROLE as Buffer, transcript);
  return by.hmac('sha256', confirmationKey, ROLE as Buffer, transcript);
}

/** µs of CPU time a chunk, garbage collection included; `batch` chunks between two looks at the clock. */
function timed(by: Primitives, batch: number, run: (by: Primitives) => void): number {
  const started = cpuUs();
  const end = started + Number(options.budget) * 1000;
  let done = 0;
  while (cpuUs() < end) {
    for (let i = 0; i < batch; i++) run(by);
    done += batch;
  }
  return (cpuUs() - started) / done;
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

const cases = (Object.keys(HASHES) as HashName[]).flatMap((hash) =>
  [
    { slots: 2, bytes: 32, batch: 1 },
    { slots: 2, bytes: 32, batch: 64 },
    { slots: 2, bytes: 256, batch: 64 },
    { slots: 5, bytes: 32, batch: 64 },
    { slots: 2, bytes: 4096, batch: 16 },
  ].map((shape) => ({ hash, ...shape })),
);

const rows = cases.map(({ hash, slots, bytes, batch }) => {
  const secrets = Array.from({ length: slots }, () => randomBytes(32));
  const context = randomBytes(420 + 80 * slots);
  const outs = Object.values(CANDIDATES).map((by) => {
    const out = Buffer.alloc(bytes);
    return Buffer.concat([chunk(by, hash, secrets, context, out), out]);
  });
  for (const out of outs) assert.deepEqual(out, outs[0], `${hash}: the candidates differ`);
  const out = Buffer.alloc(bytes);
  const run = (by: Primitives) => void chunk(by, hash, secrets, context, out);
  // Compiled before it counts.
  for (const by of Object.values(CANDIDATES)) timed(by, batch, run);
  const times = Object.values(CANDIDATES).map((): number[] => []);
  for (let round = 0; round < Number(options.rounds); round++) {
    Object.values(CANDIDATES).forEach((by, i) => {
      times[i]?.push(timed(by, batch, run));
    });
  }
  const medians = times.map((one) => median(one));
  const ratio = ((medians[0] as number) / Math.min(...medians.slice(1))).toFixed(2);
  return [`hkdf-${hash}`, slots, bytes, batch, ...medians.map((one) => one.toFixed(1)), ratio];
});
printTable(['method', 'slots', 'bytes', 'batch', ...Object.keys(CANDIDATES), 'service / best other'], rows);
process.stdout.write(
  'µs of CPU a chunk, medians; HMAC objects and hkdfSync are node:crypto;\nthe service takes hkdfSync, and one-shot hashes for HMAC.\n',
);
