import { equalBytes } from '#common/crypto/bytes.ts';
import { KeyweaveError } from '#common/errors/keyweave-error.ts';

/**
 * Refuses the secrets of one chunk where a source gave what no sound source
 * gives: zeros, or what another slot has given (xoring would make zeros of the
 * two). Where lengths differ the shorter one decides. `names` are the slots'
 * algorithms, in order.
 *
 * @throws KeyweaveError SOURCE_FAULT, naming slots and index and no byte.
 */
export function assertSound(secrets: readonly Buffer[], names: readonly string[], index: number): void {
  for (let i = 0; i < secrets.length; i++) {
    const secret = secrets[i] as Buffer;
    if (isZero(secret)) {
      fault(`slot ${i + 1} (${names[i]}) gave zeros for chunk ${index}`);
    }
    for (let j = 0; j < i; j++) {
      if (sameStart(secrets[j] as Buffer, secret)) {
        fault(
          `slots ${j + 1} and ${i + 1} (${names[j]}, ${names[i]}) gave the same secret for chunk ${index}`,
        );
      }
    }
  }
}

function fault(what: string): never {
  throw new KeyweaveError('SOURCE_FAULT', `${what}, which no sound source does; look at that source`);
}

/** Looks at every byte, so that the time tells nothing of where they differ. */
function isZero(secret: Buffer): boolean {
  let any = 0;
  for (let i = 0; i < secret.length; i++) any |= secret[i] as number;
  return any === 0;
}

function sameStart(a: Buffer, b: Buffer): boolean {
  if (a.length === b.length) return equalBytes(a, b);
  const length = Math.min(a.length, b.length);
  return equalBytes(a.subarray(0, length), b.subarray(0, length));
}
